import numpy as np
import torch

from mnist_vision.data.mnist import CorruptFileError
from mnist_vision.report import hard_digits as module
from mnist_vision.report.grouping import group
from mnist_vision.report.hard_digits import MAX_SHARED, find_hardest, load_pictures
from mnist_vision.report.selection import select
from tests.conftest import composed
from tests.report.fixtures import write_run


def shared_test(folder, wrong):
    targets = np.arange(100) % 10
    for name, taken_for in wrong.items():
        preds = targets.copy()
        for index, pred in taken_for.items():
            preds[index] = pred
        write_run(folder / name, overrides=[f"{name}=1"], targets=targets, preds=preds)
    ((test,), _) = group(select([str(folder)]).runs)
    return test


def test_digits_that_all_or_one_get_wrong(tmp_path):
    test = shared_test(tmp_path, {"a": {3: 5, 7: 1}, "b": {3: 5, 8: 0}, "c": {3: -1, 8: 1, 9: 4}})
    hardest = find_hardest(test, None)
    assert hardest.by_all.total == 1
    (digit,) = hardest.by_all.shown
    assert (digit.index, digit.target, digit.said) == (3, 3, "5 ×2, nothing")  # noqa: RUF001
    assert sorted(digit.by_setting) == ["5", "5", "nothing"]
    alone = {label: [digit.index for digit in found.shown] for label, found in hardest.by_one}
    assert alone == {"cnn a=1": [7], "cnn b=1": [], "cnn c=1": [9]}


def test_what_is_shown_is_limited_and_the_total_is_not(tmp_path):
    wrong = {index: (index + 1) % 10 for index in range(60)}
    hardest = find_hardest(shared_test(tmp_path, {"a": wrong, "b": wrong}), None)
    assert (hardest.by_all.total, len(hardest.by_all.shown)) == (60, MAX_SHARED)


def test_pictures_are_those_of_the_digits(tmp_path):
    test = shared_test(tmp_path, {"a": {3: 5}, "b": {3: 5}})
    (digit,) = find_hardest(test, np.zeros((100, 28, 28), np.uint8)).by_all.shown
    assert digit.picture.startswith("data:image/png;base64,")


def test_other_digits_than_mnists_have_no_pictures(tmp_path, monkeypatch):
    test = shared_test(tmp_path, {"a": {3: 5}, "b": {3: 5}})
    images, targets = torch.zeros(100, 1, 28, 28, dtype=torch.uint8), torch.arange(100) % 10
    monkeypatch.setattr(module, "load_split", lambda root, split: (images, targets))
    found, reason = load_pictures(test)
    assert (found.shape, reason) == ((100, 28, 28), "")
    monkeypatch.setattr(module, "load_split", lambda root, split: (images, targets.flip(0)))
    assert load_pictures(test)[0] is None
    assert "not the test digits of MNIST" in load_pictures(test)[1]


def test_data_that_are_not_there_are_not_fetched(tmp_path, monkeypatch):
    test = shared_test(tmp_path, {"a": {3: 5}, "b": {3: 5}})
    monkeypatch.setattr(module, "DATA_ROOT", str(tmp_path / "nowhere"))
    images, reason = load_pictures(test)
    assert images is None
    assert "nowhere" in reason
    assert issubclass(CorruptFileError, Exception)
    assert not (tmp_path / "nowhere").exists()


def test_the_data_are_looked_for_where_training_keeps_them():
    assert composed().data.root == module.DATA_ROOT
