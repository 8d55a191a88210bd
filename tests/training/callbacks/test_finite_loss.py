import math

import pytest
import torch

from mnist_vision.common.errors import UserError
from mnist_vision.models.cnn import CNN
from mnist_vision.training.checkpoints import read_checkpoint


def test_weights_that_are_no_numbers_fail_the_run_before_they_are_kept(run, monkeypatch, tmp_path):
    """The last step of the last epoch spoils the weights: no loss has shown it."""
    on_train_batch_end = CNN.on_train_batch_end

    def spoil(self, outputs, batch, batch_idx):
        on_train_batch_end(self, outputs, batch, batch_idx)
        if self.trainer.is_last_batch and self.trainer.current_epoch == 1:
            with torch.no_grad():
                next(self.parameters()).fill_(math.nan)

    monkeypatch.setattr(CNN, "on_train_batch_end", spoil)
    with pytest.raises(UserError, match=r"is not finite in epoch 2: training has diverged"):
        run()
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["epoch"] == 0


def spoil_loss(monkeypatch, step, factor):
    """Has the loss of one step, counted from 1, multiplied; gives the steps as they are made."""
    losses = CNN.losses
    steps = []

    def spoil(self, images, targets):
        steps.append(len(steps) + 1)
        terms = losses(self, images, targets)
        return {k: v * factor if steps[-1] == step else v for k, v in terms.items()}

    monkeypatch.setattr(CNN, "losses", spoil)
    return steps


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_fails_the_run(run, monkeypatch, tmp_path, bad):
    spoil_loss(monkeypatch, 6, bad)
    with pytest.raises(UserError, match=r"(train/loss is (nan|inf)|is not finite) in epoch 2"):
        run()
    assert not (tmp_path / "run" / "results.json").exists()
    for name in ("best", "last"):
        weights = read_checkpoint(tmp_path / "run" / "checkpoints" / f"{name}.ckpt")["state_dict"]
        assert all(torch.isfinite(values).all() for values in weights.values())


@pytest.mark.parametrize(("every_n_steps", "expected"), [(1, 3), (1000, 6)])
def test_how_often_a_single_step_is_looked_at(run, monkeypatch, every_n_steps, expected):
    """The third of the epoch's six steps is spoilt; its mean loss tells at the latest."""
    steps = spoil_loss(monkeypatch, 3, math.nan)
    settings = ("trainer.limit_train_batches=6", "data.batch_size=50")
    with pytest.raises(UserError, match="in epoch 1"):
        run(*settings, f"callbacks.finite_loss.every_n_steps={every_n_steps}")
    assert len(steps) == expected
