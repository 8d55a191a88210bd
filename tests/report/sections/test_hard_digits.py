import numpy as np
import pytest
import torch

from mnist_vision.data.mnist import load_split
from mnist_vision.report.sections import hard_digits as module
from mnist_vision.report.sections.hard_digits import (
    MAX_SHARED,
    SECTION,
    find_hard_digits,
    load_images,
)
from tests.conftest import composed
from tests.report.fixtures import compare_runs, shared_test, write_run


def write_runs(folder, wrong):
    """Writes runs of 100 digits, with the wrong predictions of each run by index."""
    targets = np.arange(100) % 10
    for name, predicted in wrong.items():
        predictions = targets.copy()
        predictions[list(predicted)] = list(predicted.values())
        write_run(folder / name, overrides=[f"{name}=1"], targets=targets, predictions=predictions)


def blocks_of(folder, kind):
    blocks = SECTION.make_blocks(compare_runs(folder))
    return [block for block in blocks if type(block).__name__ == kind]


def test_digits_that_all_or_one_get_wrong(tmp_path):
    write_runs(tmp_path, {"a": {3: 5, 7: 1}, "b": {3: 5, 8: 0}, "c": {3: -1, 8: 1, 9: 4}})
    test = shared_test(tmp_path)
    by_all, by_one = find_hard_digits(test)
    assert list(by_all) == [3]
    alone = {s.label: list(indices) for s, indices in zip(test.settings, by_one, strict=True)}
    assert alone == {"cnn a=1": [7], "cnn b=1": [], "cnn c=1": [9]}
    picture = blocks_of(tmp_path, "Gallery")[0].pictures[0]
    assert picture[:3] == ("3", "as 5 ×2, nothing", "no. 3")  # noqa: RUF001
    (details,) = blocks_of(tmp_path, "Details")
    ((index, target, *predictions),) = details.table.rows
    assert (index.text, target.text) == ("3", "3")
    assert sorted(cell.text for cell in predictions) == ["5", "5", "nothing"]
    headings = {block.text for block in blocks_of(tmp_path, "Heading")}
    expected = {"Wrong only for cnn a=1: 1", "Wrong only for cnn c=1: 1"}
    assert headings == {"Wrong for every setting: 1 of 100", *expected}


def test_what_is_shown_is_limited_and_the_total_is_not(tmp_path):
    wrong = {index: (index + 1) % 10 for index in range(60)}
    write_runs(tmp_path, {"a": wrong, "b": wrong})
    (gallery,) = blocks_of(tmp_path, "Gallery")
    assert len(gallery.pictures) == MAX_SHARED
    assert [block.text for block in blocks_of(tmp_path, "Heading")] == [
        "Wrong for every setting: 60 of 100"
    ]
    assert "The first 40 of 60." in [block.text for block in blocks_of(tmp_path, "Paragraph")]


@pytest.fixture
def two_runs(tmp_path):
    write_runs(tmp_path, {"a": {3: 5}, "b": {3: 5}})
    return tmp_path


def test_pictures_are_those_of_the_digits(two_runs, monkeypatch):
    images, targets = torch.zeros(100, 1, 28, 28, dtype=torch.uint8), torch.arange(100) % 10
    monkeypatch.setattr(module, "load_split", lambda root, split: (images, targets))
    found, reason = load_images(shared_test(two_runs))
    assert (found.shape, reason) == ((100, 28, 28), "")
    assert blocks_of(two_runs, "Gallery")[0].pictures[0].png.startswith(b"\x89PNG")


def test_other_digits_than_mnists_have_no_pictures(two_runs, monkeypatch):
    images, targets = torch.zeros(100, 1, 28, 28, dtype=torch.uint8), torch.arange(100) % 10
    monkeypatch.setattr(module, "load_split", lambda root, split: (images, targets.flip(0)))
    assert load_images(shared_test(two_runs))[0] is None
    assert "not tested on MNIST's test images" in blocks_of(two_runs, "Paragraph")[0].text
    assert blocks_of(two_runs, "Gallery")[0].pictures[0].png == b""


def test_a_label_that_is_known_to_be_wrong_is_marked(mnist_root, tmp_path):
    targets = load_split(mnist_root, "test")[1].numpy()
    predictions = targets.copy()
    predictions[[946, 947]] = -1
    for name in ("a", "b"):
        write_run(
            tmp_path / name, overrides=[f"{name}=1"], targets=targets, predictions=predictions
        )
    (gallery,) = blocks_of(tmp_path, "Gallery")
    notes = [picture.note for picture in gallery.pictures]
    assert notes == ["no. 946", "no. 947, label known to be wrong"]


def test_missing_data_are_not_downloaded(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DATA_ROOT", str(tmp_path / "nowhere"))
    images, reason = load_images(shared_test(two_runs))
    assert images is None
    assert "nowhere" in reason
    assert not (tmp_path / "nowhere").exists()


def test_the_data_are_looked_for_where_training_keeps_them():
    assert composed().data.root == module.DATA_ROOT
