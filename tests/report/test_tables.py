import numpy as np
import pytest

from mnist_vision.report.grouping import group
from mnist_vision.report.lab import REPORTED
from mnist_vision.report.selection import select
from mnist_vision.report.tables import (
    MAX_ALL_PAIRS,
    Cell,
    compare_pairs,
    environments_table,
    lab_table,
    pairs_table,
    settings_table,
)
from tests.report.fixtures import ENVIRONMENT, digits, write_job, write_run


def settings_in(folder):
    selection = select([str(folder)])
    tests, _ = group(selection.runs)
    return [setting for test in tests for setting in test.settings], selection.incomplete


def lab_rows(folder):
    table = lab_table(*settings_in(folder))
    return [[cell.text for cell in row] for row in table.rows], table


def test_the_labs_table_shows_ours_above_the_write_ups(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"{seed}", overrides=["experiment=lab/cnn"], seed=seed, accuracy=0.95)
    write_run(tmp_path / "other", overrides=["model.hidden=8"], accuracy=0.99)
    rows, table = lab_rows(tmp_path)
    ours, theirs, *others = rows
    assert ours[:2] == ["CNN", "lab/cnn"]
    assert ours[4:6] == ["0.9500", "0.9499"]
    assert len(ours[6].split()) == 3
    assert table.rows[0][1].note.startswith("mean of 2 seeds")
    assert theirs[1:6] == ["the lab’s write-up", "–", "–", "0.9904", "0.9904"]  # noqa: RUF001
    assert theirs[6].startswith("0.2536 0.0872")
    assert theirs[6].endswith("0.0245")
    assert [row[:2] for row in others[::2]] == [
        ["Faster R-CNN", "not run"],
        ["VGG16", "not run"],
        ["AlexNet", "not run"],
    ]


def test_without_the_labs_recipe_every_setting_is_shown(tmp_path):
    write_run(tmp_path / "a", overrides=["model.hidden=8"])
    write_run(tmp_path / "b", overrides=["experiment=lab/cnn", "model.hidden=16"])
    rows, _ = lab_rows(tmp_path)
    assert {rows[0][1], rows[1][1]} == {"cnn hidden=8", "lab/cnn hidden=16"}


def test_an_architecture_that_failed_says_why(tmp_path):
    write_run(tmp_path / "a", overrides=["experiment=lab/cnn"])
    write_job(tmp_path / "b")
    write_job(tmp_path / "c")
    _, table = lab_rows(tmp_path)
    (row,) = [row for row in table.rows if row[0].text == "VGG16"]
    assert row[1].text == "failed (and 1 more)"
    assert "give model.weights=PATH" in row[1].note


def test_weights_are_told(tmp_path):
    recipe = {"architecture": "vgg16", "overrides": ["experiment=lab/vgg16"]}
    write_run(tmp_path / "a", **recipe)
    write_run(
        tmp_path / "b", weights="/secret/place/features.pth", **recipe | {"settings": {"s": 1}}
    )
    _, table = lab_rows(tmp_path)
    notes = " ".join(row[1].note for row in table.rows)
    assert "from scratch; the write-up" in notes
    assert "weights features.pth" in notes
    assert "secret" not in notes


def test_no_architecture_of_the_lab_no_table(tmp_path):
    write_run(tmp_path, architecture="perceptron")
    assert lab_table(*settings_in(tmp_path)) is None


def test_the_write_up_is_as_reported():
    assert REPORTED["faster_rcnn"].losses == (0.0743, 0.0218, 0.0136)
    assert REPORTED["vgg16"].figures["test_accuracy"] == 0.985
    assert REPORTED["alexnet"].figures["train_accuracy"] == 0.9118


def test_a_setting_is_a_row_and_the_best_are_marked(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"a{seed}", overrides=["a=1"], seed=seed, accuracy=0.95 + seed / 200)
    write_run(tmp_path / "b", overrides=["b=1"], accuracy=0.9, num_parameters=10, seconds=7)
    (test,), _ = group(select([str(tmp_path)]).runs)
    first, second = settings_table(test).rows
    assert first[4] == Cell("0.9550", "± 0.0050", is_best=True)
    assert first[5] == Cell("0.9426 to 0.9674", "over seeds")
    assert second[4] == Cell("0.9000")
    assert second[5].note == "over images, 1 seed"
    assert second[8] == Cell("10", is_best=True)
    assert second[9].is_best
    assert not first[9].is_best


def test_pairs_of_few_settings_are_all_tested(tmp_path):
    """b is right where a is wrong 12 times and never the other way round: p = 2 / 2^12."""
    targets = digits(200)
    preds = {"a": targets.copy(), "b": targets.copy(), "c": targets.copy()}
    preds["a"][:20] = -1
    preds["b"][12:20] = -1
    preds["c"][10:20] = -1
    for name, own in preds.items():
        write_run(tmp_path / name, overrides=[f"{name}=1"], targets=targets, preds=own)
    (test,), _ = group(select([str(tmp_path)]).runs)
    pairs = {f"{pair.first.label} {pair.second.label}": pair for pair in compare_pairs(test)}
    assert set(pairs) == {"cnn b=1 cnn c=1", "cnn b=1 cnn a=1", "cnn c=1 cnn a=1"}
    against = pairs["cnn b=1 cnn a=1"]
    assert against.outcome == pytest.approx((12, 0, 2 / 2**12))
    assert against.adjusted == pytest.approx(3 * 2 / 2**12)
    assert against.is_real
    assert not pairs["cnn b=1 cnn c=1"].is_real
    verdicts = [row[2].text for row in pairs_table(test, compare_pairs(test)).rows]
    assert "yes: cnn b=1 is better" in verdicts
    assert "may be chance" in verdicts


def test_pairs_of_many_settings_are_those_with_the_best_by_validation(tmp_path):
    for number in range(MAX_ALL_PAIRS + 1):
        accuracy = 0.9 + number / 100
        write_run(tmp_path / f"{number}", overrides=[f"n={number}"], accuracy=accuracy)
    (test,), _ = group(select([str(tmp_path)]).runs)
    pairs = compare_pairs(test)
    assert len(pairs) == MAX_ALL_PAIRS
    assert {pair.first.label for pair in pairs} == {f"cnn n={MAX_ALL_PAIRS}"}


def test_the_lowest_seed_represents_a_setting_whatever_it_reached(tmp_path):
    targets = digits(200)
    for seed, num_wrong in ((3, 30), (7, 0)):
        preds = targets.copy()
        preds[:num_wrong] = -1
        write_run(tmp_path / f"{seed}", seed=seed, targets=targets, preds=preds)
    write_run(tmp_path / "other", overrides=["b=1"], targets=targets, preds=targets)
    (test,), _ = group(select([str(tmp_path)]).runs)
    (pair,) = compare_pairs(test)
    assert sorted(pair.outcome[:2]) == [0, 30]


def test_environments_are_counted(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", environment=ENVIRONMENT | {"device": "NVIDIA H100", "git": None})
    write_run(tmp_path / "c")
    table = environments_table(select([str(tmp_path)]).runs)
    assert [row[-1].text for row in table.rows] == ["2", "1"]
    assert "NVIDIA H100" in [cell.text for cell in table.rows[1]]
    assert np.all(["None" not in cell.text for row in table.rows for cell in row])
