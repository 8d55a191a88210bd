import hashlib

import pytest
import torch

from mnist_vision.data import mnist
from mnist_vision.data.mnist import CorruptFileError, IdxFile, faults, load_split, read_idx


@pytest.fixture
def idx_file(tmp_path):
    """A small IDX file of two 2x3 images, and what is expected of it."""
    contents = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(12)])
    (tmp_path / "images").write_bytes(contents)
    return IdxFile("images", (2, 2, 3), hashlib.md5(contents).hexdigest())


def test_read_idx_gives_the_bytes_in_shape(tmp_path, idx_file):
    values = read_idx(tmp_path, idx_file)
    assert values.dtype == torch.uint8
    assert torch.equal(values, torch.arange(12, dtype=torch.uint8).view(2, 2, 3))


def test_a_missing_file_is_named(tmp_path, idx_file):
    (tmp_path / "images").unlink()
    with pytest.raises(CorruptFileError, match=r"images: No such file"):
        read_idx(tmp_path, idx_file)


@pytest.mark.parametrize("size", [0, 15, 27, 29])
def test_a_file_of_another_size_is_refused(tmp_path, idx_file, size):
    contents = (tmp_path / "images").read_bytes()
    (tmp_path / "images").write_bytes((contents + b"x")[:size])
    with pytest.raises(CorruptFileError, match=f"holds {size} bytes"):
        read_idx(tmp_path, idx_file)


def test_an_absurd_file_is_refused_unread(tmp_path, idx_file, monkeypatch):
    with (tmp_path / "images").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail("was read"))
    with pytest.raises(CorruptFileError, match="bytes"):
        read_idx(tmp_path, idx_file)


@pytest.mark.parametrize("position", [0, 7, 11, 16, 27])
def test_one_changed_bit_is_found_wherever_it_is(tmp_path, idx_file, position):
    contents = bytearray((tmp_path / "images").read_bytes())
    contents[position] ^= 1
    (tmp_path / "images").write_bytes(contents)
    with pytest.raises(CorruptFileError, match="md5"):
        read_idx(tmp_path, idx_file)


def test_faults_names_every_bad_file(tmp_path):
    names = {file.name for file in mnist.all_files()}
    assert len(names) == 4
    assert faults(tmp_path).keys() == names


def test_the_real_splits(mnist_root):
    images, targets = load_split(mnist_root, "train")
    assert images.shape == (60_000, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert targets.dtype == torch.int64
    assert targets[:5].tolist() == [5, 0, 4, 1, 9]
    images, targets = load_split(mnist_root, "test")
    assert images.shape == (10_000, 1, 28, 28)
    assert targets.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
