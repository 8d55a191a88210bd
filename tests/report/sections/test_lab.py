from dataclasses import replace

from mnist_vision.report.sections.lab import REPORTED, SECTION
from tests.report.fixtures import (
    compare_runs,
    validated_twice_an_epoch,
    write_job,
    write_run,
)


def lab_rows(folder):
    (table,) = SECTION.make_blocks(compare_runs(folder))
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
    assert theirs[1:6] == ["the lab's write-up", "–", "–", "0.9904", "0.9904"]  # noqa: RUF001
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


def test_losses_are_those_of_whole_epochs_and_of_many_the_first_and_the_last(tmp_path):
    write_run(tmp_path / "a", epochs=30)
    comparison = compare_runs(tmp_path)
    (setting,) = comparison.settings
    losses = [f"{row['train/loss']:.4f}" for row in setting.runs[0].results.history]
    for run in (setting.runs[0], validated_twice_an_epoch(setting.runs[0])):
        changed = replace(setting, runs=(run,))
        tests = [replace(comparison.tests[0], settings=(changed,))]
        (table,) = SECTION.make_blocks(replace(comparison, tests=tests))
        assert table.rows[0][-1].text.split() == [*losses[:19], "...", losses[-1]]


def test_an_architecture_that_failed_says_why(tmp_path):
    write_run(tmp_path / "a", overrides=["experiment=lab/cnn"])
    write_job(tmp_path / "b")
    write_job(tmp_path / "c")
    _, table = lab_rows(tmp_path)
    (row,) = [row for row in table.rows if row[0].text == "VGG16"]
    assert row[1].text == "failed (and 1 more)"
    assert "give model.weights=PATH" in row[1].note


def test_weights_are_named(tmp_path):
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
    assert SECTION.make_blocks(compare_runs(tmp_path)) == []


def test_the_write_up_is_as_reported():
    assert REPORTED["faster_rcnn"].losses == (0.0743, 0.0218, 0.0136)
    assert REPORTED["vgg16"].figures["test_accuracy"] == 0.985
    assert REPORTED["alexnet"].figures["train_accuracy"] == 0.9118


def test_the_labs_recipe_is_the_same_on_any_device_and_from_any_weights(tmp_path):
    device = ["trainer=gpu", "trainer.accelerator=gpu", "trainer.precision=32-true"]
    for name, changes in {"a": device, "b": ["model.weights=some.pth", "seed=3"]}.items():
        overrides = ["experiment=lab/cnn", *changes]
        write_run(tmp_path / name, overrides=overrides, settings={"name": name})
    write_run(tmp_path / "c", overrides=["experiment=best/cnn"])
    write_run(tmp_path / "d", overrides=["experiment=lab/cnn", "trainer.max_epochs=1"])
    rows, _ = lab_rows(tmp_path)
    assert [row[0] for row in rows].index("Faster R-CNN") == 3  # two of ours, and the write-up's
    assert all(row[1].startswith("lab/cnn") and "max_epochs" not in row[1] for row in rows[:2])
