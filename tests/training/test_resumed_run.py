"""Runs that are interrupted and resumed."""

import json
import signal

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_vision.common.errors import Stopped, UserError
from mnist_vision.models.cnn import CNN
from mnist_vision.training.checkpoints import read_checkpoint
from mnist_vision.training.run import run as run_training
from tests.conftest import results_of
from tests.training.conftest import without_times


@pytest.mark.parametrize("callbacks", ["default", "ema"])
def test_an_interrupted_and_resumed_run_equals_one_that_was_not(
    digits, run_config, tmp_path, monkeypatch, callbacks
):
    """With shuffling, dropout, augmentation and a schedule; to the bit."""
    settings = ("trainer.max_epochs=3", "data.batch_size=50", f"callbacks={callbacks}")
    config = run_config(*settings)
    run_training(config)
    whole = results_of(tmp_path / "run")
    whole_last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")

    monkeypatch.setattr("mnist_vision.training.run._say_how_to_continue", lambda *args: None)
    config.output_dir = str(tmp_path / "resumed")
    (tmp_path / "resumed").mkdir()
    steps = []

    def stop_in_the_second_epoch(self, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 13:
            raise Stopped(signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    training_step = CNN.training_step
    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop_in_the_second_epoch)
        with pytest.raises(Stopped):
            run_training(config)
    assert not (tmp_path / "resumed" / "results.json").exists()

    config.ckpt_path = str(tmp_path / "resumed" / "checkpoints" / "last.ckpt")
    run_training(config)
    resumed = results_of(tmp_path / "resumed")
    assert without_times(resumed["history"]) == without_times(whole["history"])
    assert resumed["test"] == whole["test"]
    assert resumed["calibration"] == whole["calibration"]
    assert resumed["seconds"]["fit"] >= resumed["history"][1]["seconds"]
    resumed_last = read_checkpoint(config.ckpt_path)
    for name, values in whole_last["state_dict"].items():
        assert torch.equal(values, resumed_last["state_dict"][name]), name


def test_tensorboard_shows_each_step_of_a_resumed_run_once(run, monkeypatch, tmp_path):
    monkeypatch.setattr("mnist_vision.training.run._say_how_to_continue", lambda *args: None)
    training_step = CNN.training_step

    def stop_in_the_second_epoch(self, batch, batch_idx):
        if self.trainer.global_step == 6:
            raise Stopped(signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop_in_the_second_epoch)
        with pytest.raises(Stopped):
            run()
    run(f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    steps = {tag: [each.step for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert steps.pop("epoch")  # Lightning logs it with each metric
    assert steps["train/lr"] == list(range(8))
    assert steps["val/accuracy"] == [3, 7]
    assert steps["test/accuracy"] == [8]
    for tag, logged in steps.items():
        assert len(set(logged)) == len(logged), tag
    assert [each.step for each in events.Images("train/images")] == [0]


def test_a_run_stopped_in_its_first_epoch_can_be_resumed(run, run_config, monkeypatch, tmp_path):
    monkeypatch.setattr("mnist_vision.training.run._say_how_to_continue", lambda *args: None)

    def stop(self, batch, batch_idx):
        raise Stopped(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop)
        with pytest.raises(Stopped):
            run()
    run(f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    assert results_of(tmp_path / "run")["epochs"] == 2


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_resuming_a_finished_run_says_so_and_leaves_its_results(run, max_epochs):
    run_dir = run()
    before = (run_dir / "results.json").read_bytes()
    again = f"ckpt_path={run_dir}/checkpoints/last.ckpt"
    expected = rf"already trained for 2 epochs, with trainer\.max_epochs={max_epochs}"
    with pytest.raises(UserError, match=expected):
        run(again, f"trainer.max_epochs={max_epochs}")
    assert (run_dir / "results.json").read_bytes() == before


def test_a_run_that_lacks_only_its_results_gets_them(run):
    run_dir = run()
    before = results_of(run_dir)
    (run_dir / "results.json").unlink()
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt")
    after = results_of(run_dir)
    for key in ("history", "train", "test", "calibration", "epochs"):
        assert after[key] == before[key]


def test_a_finished_run_can_be_trained_on_and_its_results_are_kept(run):
    run_dir = run()
    first = results_of(run_dir)
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt", "trainer.max_epochs=3")
    assert results_of(run_dir)["history"][:2] == first["history"]
    assert results_of(run_dir)["epochs"] == 3
    assert json.loads((run_dir / "results_epoch_2.json").read_text()) == first
