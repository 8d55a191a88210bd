"""Calibration, attributions and corruptions in a run; runs without a test."""

import json
import signal

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_vision.common.errors import Stopped, UserError
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.calibration import fit_scaling
from mnist_vision.evaluation.corruptions.suite import SUITES
from mnist_vision.models.classifier import to_probabilities
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.training.checkpoints import load_classifier, read_checkpoint
from tests.conftest import results_of
from tests.evaluation.test_robustness import SUITE
from tests.training.conftest import without_times
from tests.training.test_ending import STOPPING


def test_a_run_is_calibrated_on_its_validation_images(run):
    run_dir = run()
    path = run_dir / "checkpoints" / "best.ckpt"
    datamodule = MNISTDataModule("", val_size=100, augmentation=None)
    datamodule.setup("fit")
    images, targets = datamodule.prepare_batch(datamodule.val_set.__getitems__(range(100)))
    with torch.no_grad():
        scores = load_classifier(path)(images)
    expected = fit_scaling(to_probabilities(scores.double()), targets)
    stored = read_checkpoint(path)["calibration"]
    assert stored["temperature"] == pytest.approx(expected.temperature, rel=1e-3)
    assert stored["threshold"] == pytest.approx(expected.threshold, rel=1e-3)
    calibration = results_of(run_dir)["calibration"]
    assert stored == {name: calibration[name] for name in ("temperature", "threshold")}
    assert calibration["before"] != calibration["after"]
    assert "calibration" not in read_checkpoint(run_dir / "checkpoints" / "last.ckpt")


def test_the_worst_mistakes_are_explained_and_again_by_evaluate(run, run_here, tmp_path):
    run_dir = run("trainer.max_epochs=1", "model.widths=[4,8]")
    explained = RunDirectory(run_dir).read_attributions()
    tested = RunDirectory(run_dir).read_predictions()
    assert len(explained.indices) == 12
    assert (explained.predictions == tested.preds[explained.indices]).all()
    assert (explained.targets == tested.targets[explained.indices]).all()
    assert (explained.predictions != explained.targets).all()
    arguments = ("ckpt_path=run/checkpoints/best.ckpt", "hydra.run.dir=again")
    code, output = run_here("evaluate", *arguments, "trainer.accelerator=cpu")
    assert (code, output.err) == (0, "")
    again = RunDirectory(tmp_path / "again").read_attributions()
    for name, array in vars(explained).items():
        assert np.array_equal(getattr(again, name), array)


@pytest.fixture
def suite(monkeypatch, tmp_path):
    """The settings that ask for a suite of three quick corruptions."""
    monkeypatch.setitem(SUITES, "corruptions", SUITE)
    return ["suite=corruptions", f"data.root={tmp_path / 'data'}"]


def test_a_suite_of_corruptions_is_measured_and_goes_with_its_results(run, suite):
    run_dir = run(*suite)
    record = json.loads((run_dir / "robustness.json").read_text())
    results = results_of(run_dir)
    assert record["ckpt_path"] == str(run_dir / "checkpoints" / "best.ckpt")
    assert record["clean_accuracy"] == results["test"]["accuracy"]
    assert list(record["corruptions"]) == [each.name for each in SUITE]
    assert "suite" not in results["settings"]
    events = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    (mean,) = events.Scalars("robustness/mean")
    assert (mean.step, mean.value) == (8, pytest.approx(record["mean_accuracy"]))
    assert len(events.Images("robustness/images")) == 1
    # Trained on without the suite: the old figures do not stay beside the new results.
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt", "trainer.max_epochs=3")
    assert not (run_dir / "robustness.json").exists()
    assert json.loads((run_dir / "robustness_epoch_2.json").read_text()) == record


def test_a_run_stopped_while_a_suite_is_measured_is_resumed_from_there(
    run, suite, monkeypatch, tmp_path
):
    monkeypatch.setattr("mnist_vision.training.run._say_how_to_continue", lambda *args: None)

    def stop(*args):
        raise Stopped(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("mnist_vision.evaluation.robustness.load_corrupted", stop)
        with pytest.raises(Stopped):
            run(*suite)
    run_dir = tmp_path / "run"
    assert not (run_dir / "results.json").exists()
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt", *suite)
    record = json.loads((run_dir / "robustness.json").read_text())
    assert record["clean_accuracy"] == results_of(run_dir)["test"]["accuracy"]


def test_a_run_without_a_test_is_calibrated_and_can_be_tested_later(run, digits, tmp_path):
    at_once = results_of(run())
    (tmp_path / "run").rename(tmp_path / "at_once")
    run_dir = run("test=false")
    assert not list(run_dir.glob("results*"))
    assert not list(run_dir.glob("*.npz"))
    trained = json.loads((run_dir / "training.json").read_text())
    assert without_times(trained["history"]) == without_times(at_once["history"])
    assert "test" not in trained
    checkpoint = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")
    assert checkpoint["calibration"]["temperature"] == at_once["calibration"]["temperature"]
    events = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    assert not any(tag.startswith("test/") for tag in events.Tags()["scalars"])
    assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")
    (best,) = events.Scalars("val/best_accuracy")
    assert best.step == trained["best"]["step"]
    assert best.value == pytest.approx(trained["best"]["val_accuracy"])
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt", "test=true")
    results = results_of(run_dir)
    assert results["history"] == trained["history"]
    for name in ("test", "calibration", "best", "settings"):
        assert results[name] == at_once[name]
    events = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    assert [each.step for each in events.Scalars("test/accuracy")] == [8]
    assert [each.step for each in events.Scalars("val/accuracy")] == [3, 7]


@pytest.mark.parametrize("ending", [["trainer.max_steps=6"], STOPPING])
def test_a_run_that_ended_within_an_epoch_is_tested_later_as_it_is(run, ending):
    run_dir = run("test=false", *ending)
    trained = json.loads((run_dir / "training.json").read_text())
    weights = (run_dir / "checkpoints" / "best.ckpt").read_bytes()
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt", "test=true", *ending)
    results = results_of(run_dir)
    assert (results["ended_by"], results["history"]) == (trained["ended_by"], trained["history"])
    assert (run_dir / "checkpoints" / "best.ckpt").read_bytes() == weights


@pytest.mark.parametrize("settings", [["test=false"], ["test=true", "trainer.max_epochs=1"]])
def test_a_complete_run_without_a_test_is_not_trained_again(run, settings):
    run_dir = run("test=false")
    with pytest.raises(UserError, match="already trained for 2 epochs"):
        run(f"ckpt_path={run_dir}/checkpoints/last.ckpt", *settings)
