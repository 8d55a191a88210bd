import numpy as np
import pytest

from mnist_vision.report.grouping import group
from mnist_vision.report.plots import (
    COSTS,
    CURVES,
    count_confusions,
    plot_confusion,
    plot_cost,
    plot_curves,
)
from mnist_vision.report.selection import select
from tests.report.fixtures import write_run


def shared_test(folder):
    ((test,), _) = group(select([str(folder)]).runs)
    return test


def test_confusions_of_all_seeds_are_added_up(tmp_path):
    targets = np.arange(10)
    for seed, pred in enumerate((7, 2)):
        preds = targets.copy()
        preds[1] = pred
        write_run(tmp_path / f"{seed}", seed=seed, targets=targets, preds=preds)
    counts = count_confusions(shared_test(tmp_path).settings[0])
    expected = 2 * np.eye(10, dtype=int)
    expected[1, [1, 7, 2]] = 0, 1, 1
    np.testing.assert_array_equal(counts, expected)


def test_what_was_missed_has_a_column_of_its_own(tmp_path):
    targets = np.arange(10)
    write_run(tmp_path, targets=targets, preds=np.where(targets == 4, -1, targets))
    (setting,) = shared_test(tmp_path).settings
    counts = count_confusions(setting)
    assert counts.shape == (10, 11)
    assert (counts[4, 4], counts[4, 10]) == (0, 1)
    assert plot_confusion(setting).startswith(b"\x89PNG")


EXTREMES = {
    "one epoch of a perfect run": [{"accuracy": 1.0, "epochs": 1}],
    "nothing right": [{"accuracy": 0.0}],
    "no time at all": [{"seconds": 0.0, "milliseconds": 0.0, "num_parameters": 0}],
    "mathematics and foreign letters": [{"overrides": ["a=$x^{$", "b=\u6f22\U0001f600"]}],
    "a long name": [{"overrides": [f"a={'x' * 300}"]}, {}],
    "more than there are colours": [{"overrides": [f"a={n}"]} for n in range(12)],
    "the same twice": [{"overrides": ["a=1"]}, {"overrides": ["a=2"]}],
}


@pytest.mark.parametrize("runs", EXTREMES.values(), ids=EXTREMES)
def test_extremes_are_drawn_without_a_warning(tmp_path, runs):
    for number, run in enumerate(runs):
        write_run(tmp_path / f"{number}", **run)
    test = shared_test(tmp_path)
    pictures = [plot_curves(test, name) for name in CURVES]
    pictures += [plot_cost(test, name) for name in COSTS]
    pictures.append(plot_confusion(test.settings[0]))
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
