"""Kept images are read back, and only if they are intact."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mnist_vision.evaluation.corruptions import cache, suite
from mnist_vision.evaluation.corruptions.corruption import Corruption, Images
from mnist_vision.evaluation.corruptions.suite import SUITES, corrupt, load_corrupted
from tests.evaluation.corruptions.digits import draw_digits

SHOT_NOISE = SUITES["corruptions"][0]
DIGITS = draw_digits(20)
EXPECTED = corrupt(SHOT_NOISE, DIGITS)


@pytest.fixture(autouse=True)
def forget_warnings():
    cache._warn_once.cache_clear()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The file of the digits under shot noise, in `tmp_path`/cache."""
    load_corrupted(SHOT_NOISE, DIGITS, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    return path


@pytest.fixture
def is_computed(monkeypatch) -> list[str]:
    """The names of the corruptions that were computed."""
    names = []

    def spy(corruption: Corruption, images: Images) -> Images:
        names.append(corruption.name)
        return corrupt(corruption, images)

    monkeypatch.setattr(suite, "corrupt", spy)
    return names


def test_kept_images_are_read_back(kept, is_computed):
    again = load_corrupted(SHOT_NOISE, DIGITS, kept.parent)
    assert not is_computed
    assert (again == EXPECTED).all()
    assert again.shape == EXPECTED.shape
    assert again.dtype == np.uint8
    assert again.flags.writeable  # torch.from_numpy warns of others


def test_other_images_corruptions_and_versions_have_files_of_their_own(
    kept, is_computed, monkeypatch
):
    other = DIGITS.copy()
    other[0, 0, 0] = 1
    load_corrupted(SHOT_NOISE, other, kept.parent)
    load_corrupted(SHOT_NOISE, DIGITS[:10], kept.parent)
    load_corrupted(SUITES["corruptions"][1], DIGITS, kept.parent)
    monkeypatch.setattr(suite, "VERSION", suite.VERSION + 1)
    load_corrupted(SHOT_NOISE, DIGITS, kept.parent)
    assert is_computed == ["shot_noise", "shot_noise", "impulse_noise", "shot_noise"]
    assert len(list(kept.parent.iterdir())) == 5


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def flip_a_bit_of_the_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


def take_the_file_of_another_corruption(path: Path) -> None:
    load_corrupted(SUITES["corruptions"][1], DIGITS, path.parent)
    (other,) = path.parent.glob("impulse_noise*")
    path.write_bytes(other.read_bytes())


DAMAGES = [
    truncate, empty, lengthen, flip_a_bit, flip_a_bit_of_the_checksum,
    take_the_file_of_another_corruption,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_a_damaged_file_is_named_and_replaced(kept, is_computed, caplog, damage):
    intact = kept.read_bytes()
    damage(kept)
    is_computed.clear()
    assert (load_corrupted(SHOT_NOISE, DIGITS, kept.parent) == EXPECTED).all()
    assert is_computed == ["shot_noise"]
    (line,) = caplog.messages
    assert f"{kept.name}: is damaged" in line
    assert kept.read_bytes() == intact


def test_a_file_in_place_of_the_folder_does_not_stop_the_measurement(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file")
    for _ in range(2):
        assert (load_corrupted(SHOT_NOISE, DIGITS, tmp_path / "cache") == EXPECTED).all()
    (line,) = caplog.messages
    assert str(tmp_path / "cache") in line
    assert "cannot be kept here" in line


@pytest.mark.parametrize("error", [28, 30])  # a full disk, and one that is read-only
def test_a_folder_that_cannot_be_written_to_is_named_once(tmp_path, caplog, monkeypatch, error):
    def fail(path: Path):
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(cache, "write_atomically", fail)
    for corruption in SUITES["corruptions"][:3]:
        load_corrupted(corruption, DIGITS, tmp_path)
    (line,) = caplog.messages
    assert f"{tmp_path}: corrupted images cannot be kept here ({os.strerror(error)})" in line
    assert caplog.records[0].levelno == logging.WARNING


def test_a_folder_in_place_of_a_file_does_not_stop_the_measurement(kept, caplog):
    kept.unlink()
    kept.mkdir()
    (kept / "inside").touch()
    assert (load_corrupted(SHOT_NOISE, DIGITS, kept.parent) == EXPECTED).all()


def test_two_evaluations_may_use_the_folder_at_once(tmp_path, caplog):
    def is_right(_: int) -> bool:
        images = load_corrupted(SHOT_NOISE, DIGITS, tmp_path)
        for path in tmp_path.glob("shot_noise*"):
            path.unlink(missing_ok=True)
        return bool((images == EXPECTED).all())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(is_right, range(40)))
    assert not caplog.messages
