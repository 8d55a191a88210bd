import json
from dataclasses import replace

import numpy as np
import pytest

from mnist_vision.report.grouping import shorten_overrides
from tests.report.fixtures import (
    compare_runs,
    digits,
    shared_test,
    validated_twice_an_epoch,
    write_run,
)


def labels(folder):
    return sorted(setting.label for setting in compare_runs(folder).settings)


def test_runs_that_differ_in_their_seed_are_one_setting(tmp_path):
    for seed in (10, 2, 0):
        write_run(tmp_path / f"{seed}", seed=seed, accuracy=0.95 + seed / 1000)
    write_run(tmp_path / "other", overrides=["optimizer.lr=0.1"], accuracy=0.9)
    test = shared_test(tmp_path)
    assert [setting.label for setting in test.settings] == ["cnn", "cnn lr=0.1"]
    first = test.settings[0]
    assert [run.results.seed for run in first.runs] == [0, 2, 10]
    assert first.representative.results.seed == 0
    assert first.mean("test_accuracy") == pytest.approx((0.95 + 0.95 + 0.96) / 3)
    assert len(test.runs) == 4


def test_a_curve_has_the_rows_that_were_measured_and_the_epochs_of_all_seeds(tmp_path):
    for seed, epochs in enumerate((3, 4)):
        write_run(tmp_path / f"{seed}", seed=seed, epochs=epochs, overrides=[])
    (setting,) = shared_test(tmp_path).settings
    assert list(setting.mean_curve("train/loss")) == [1, 2, 3]
    first, second = map(validated_twice_an_epoch, setting.runs)
    setting = replace(setting, runs=(first, second))
    assert list(second.curve("val/accuracy")) == [0.5, 1, 1.5, 2.5, 3, 3.5, 4]
    assert list(setting.mean_curve("val/accuracy")) == [0.5, 1, 1.5, 2.5, 3]
    assert list(setting.mean_curve("train/loss")) == [1, 2, 3]
    losses = [run.results.history[1]["train/loss"] for run in (first, second)]
    assert setting.mean_curve("train/loss")[1] == pytest.approx(sum(losses) / 2)
    assert setting.mean_curve("never/measured") == {}


def test_a_run_without_settings_stands_alone(tmp_path):
    for name in ("2026_a", "2026_b"):
        write_run(tmp_path / name, overrides=None, settings=None)
        strip(tmp_path / name)
    assert labels(tmp_path) == ["cnn 2026_a", "cnn 2026_b"]


def strip(folder):
    path = folder / "results.json"
    results = json.loads(path.read_text())
    del results["settings"], results["overrides"]
    path.write_text(json.dumps(results))


def test_the_same_seed_again_does_not_count_twice(tmp_path):
    for name in ("a", "b", "c"):
        write_run(tmp_path / name)
    comparison = compare_runs(tmp_path)
    (test,), repeats = comparison.tests, comparison.repeats
    assert [run.folder.name for run in test.settings[0].runs] == ["c"]
    assert [one.path.name for one in repeats] == ["a", "b"]
    assert all("c has the same settings and seed" in one.reason for one in repeats)


def test_other_test_digits_are_another_test(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", overrides=["model.hidden=64"])
    write_run(tmp_path / "c", overrides=["data=scenes"], targets=digits(150))
    write_run(tmp_path / "d", overrides=["data=scenes"], targets=np.roll(digits(150), 1))
    tests = compare_runs(tmp_path).tests
    assert [(test.name, len(test.settings)) for test in tests] == [("A", 2), ("B", 1), ("C", 1)]
    assert [test.file_name("cost") for test in tests] == ["cost.png", "cost_B.png", "cost_C.png"]


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        ([], "cnn"),
        (["model=cnn", "search=lab", "hydra.sweep.dir=x", "logger=csv", "hydra/sweeper=o"], "cnn"),
        (["experiment=lab/cnn"], "lab/cnn"),
        (["optimizer.lr=0.1", "+experiment=speedrun"], "cnn speedrun lr=0.1"),
        (["optimizer.lr=0.00123456789", "data.root=/x", "output_dir=y"], "cnn lr=0.00123"),
        (["model.widths=[16,32]", "optimizer=sgd"], "cnn widths=[16,32] optimizer=sgd"),
    ],
)
def test_labels_are_short(tmp_path, overrides, label):
    write_run(tmp_path / "run", overrides=overrides)
    assert labels(tmp_path) == [label]


def test_shortened_overrides_keep_what_is_no_number():
    assert shorten_overrides(["trainer.precision=bf16-mixed"]) == ["precision=bf16-mixed"]


def test_settings_of_one_name_say_what_they_differ_in(tmp_path):
    for number, rate in enumerate((0.1, 0.2)):
        write_run(tmp_path / f"{number}", settings={"seed": 0, "optimizer": {"lr": rate}})
    assert labels(tmp_path) == ["cnn lr=0.1", "cnn lr=0.2"]


def test_settings_of_one_name_that_differ_in_much_have_numbers(tmp_path):
    for number in range(2):
        write_run(tmp_path / f"{number}", settings={"seed": 0} | dict.fromkeys("abcd", number))
    assert labels(tmp_path) == ["cnn (1)", "cnn (2)"]


def test_intervals_are_over_seeds_or_of_one_run_over_images(tmp_path):
    write_run(tmp_path / "one", overrides=["a=1"], accuracy=0.9)
    test = shared_test(tmp_path)
    low, high = test.settings[0].interval
    assert (low, high) == pytest.approx((0.8506, 0.9344), abs=1e-4)  # Wilson, 180 of 200
    write_run(tmp_path / "two", overrides=["a=1"], seed=1, accuracy=0.9)
    test = shared_test(tmp_path)
    assert test.settings[0].interval == pytest.approx((0.9, 0.9))


def test_the_standard_deviation_divides_by_n_minus_1(tmp_path):
    for seed, seconds in enumerate((1.0, 2.0, 4.0)):
        write_run(tmp_path / f"{seed}", seed=seed, seconds=seconds)
    write_run(tmp_path / "other", overrides=["a=1"])
    several, single = sorted(shared_test(tmp_path).settings, key=lambda one: -len(one.runs))
    assert several.standard_deviation("fit_seconds") == pytest.approx((14 / 6) ** 0.5)
    assert several.show_deviation("fit_seconds") == "± 1.5"
    assert single.standard_deviation("fit_seconds") is None
    assert single.show_deviation("fit_seconds") == ""
