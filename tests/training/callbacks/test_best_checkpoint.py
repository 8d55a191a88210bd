import signal

import pytest
import torch

from mnist_vision.common.errors import Stopped, UserError
from mnist_vision.models.cnn import CNN
from mnist_vision.training.checkpoints import read_checkpoint
from mnist_vision.training.run import run as run_training
from tests.conftest import results_of


def test_the_best_checkpoint_comes_along_into_another_directory(run, run_config, tmp_path):
    """The first epoch, made the best for good, must stay it."""
    run_dir = run("optimizer.lr=1e-9")
    history = results_of(run_dir)["history"]
    best = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")["epoch"]
    config = run_config("optimizer.lr=1e-9", "trainer.max_epochs=3")
    config.ckpt_path = str(run_dir / "checkpoints" / "last.ckpt")
    config.output_dir = str(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    run_training(config)
    accuracies = [row["val/accuracy"] for row in results_of(tmp_path / "elsewhere")["history"]]
    assert accuracies[:2] == [row["val/accuracy"] for row in history]
    kept = read_checkpoint(tmp_path / "elsewhere" / "checkpoints" / "best.ckpt")["epoch"]
    assert kept == accuracies.index(max(accuracies))
    if kept == best:
        assert accuracies[2] <= accuracies[best]


@pytest.mark.parametrize("best", ["gone", "another"])
def test_a_checkpoint_alone_takes_the_place_of_the_best(run, run_config, tmp_path, caplog, best):
    """Nothing is better than the last of two epochs, if the first is not there any more."""
    run_dir = run("optimizer.lr=1e-9")
    path = run_dir / "checkpoints" / "best.ckpt"
    if best == "gone":
        path.unlink()
    else:  # the run has gone on in the meantime
        checkpoint = read_checkpoint(path)
        for state in checkpoint["callbacks"].values():
            if state.get("best_model_score") is not None:
                state["best_model_score"] += 0.5
        torch.save(checkpoint, path)
    config = run_config("optimizer.lr=1e-9", "trainer.max_epochs=3")
    config.ckpt_path = str(run_dir / "checkpoints" / "last.ckpt")
    config.output_dir = str(tmp_path / "elsewhere")
    run_training(config)
    results = results_of(tmp_path / "elsewhere")
    accuracies = [row["val/accuracy"] for row in results["history"]]
    chosen = 2 if accuracies[1] >= accuracies[2] else 3
    expected = {"epoch": chosen, "step": 4 * chosen, "val_accuracy": accuracies[chosen - 1]}
    assert results["best"] == expected
    assert "last.ckpt instead (validation accuracy" in caplog.text


def test_without_its_best_checkpoint_a_run_is_refused(run):
    with pytest.raises(UserError, match=r"callbacks\.best_checkpoint is missing"):
        run("~callbacks.best_checkpoint")


def test_a_run_that_stopped_before_a_validation_goes_on_elsewhere(
    run, run_config, monkeypatch, tmp_path
):
    """Without Lightning's warning that the folder has changed: warnings are errors here."""

    def stop(self, batch, batch_idx):
        raise Stopped(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop)
        with pytest.raises(Stopped):
            run()
    config = run_config()
    config.ckpt_path = str(tmp_path / "run" / "checkpoints" / "last.ckpt")
    config.output_dir = str(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    run_training(config)
    assert results_of(tmp_path / "elsewhere")["epochs"] == 2


def test_a_run_without_improvement_can_be_resumed_again_and_again(run):
    constant = ("optimizer.lr=1e-12", "model.batch_norm=false", "scheduler=none")
    last = run(*constant) / "checkpoints" / "last.ckpt"
    for max_epochs in (3, 4, 5):
        run_dir = run(*constant, f"trainer.max_epochs={max_epochs}", f"ckpt_path={last}")
    assert results_of(run_dir)["epochs"] == 5
    assert results_of(run_dir)["best"]["epoch"] == 1
