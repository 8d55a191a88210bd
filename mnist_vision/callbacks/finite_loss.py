"""A run whose loss is no number any more has failed."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from mnist_vision.errors import UserError, check_whole


class FiniteLoss(Callback):
    """Ends the run with an error when the training loss becomes NaN or infinite.

    The mean loss of an epoch is looked at before checkpoints are written: since one bad step
    spoils the mean, no checkpoint is ever made of a spoilt network.

    Args:
        every_n_steps: How often the loss of a single step is looked at, so that a bad run ends
            early; not always, as reading it makes a GPU wait.

    Raises:
        FieldError: If `every_n_steps` is less than 1.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        check_whole("every_n_steps", every_n_steps, 1)
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Checks the loss of this step, if it is its turn."""
        if batch_idx % self.every_n_steps == 0:
            self._check(outputs["loss"], trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the mean loss of the epoch."""
        self._check(trainer.callback_metrics["train/loss"], trainer)

    def _check(self, loss: torch.Tensor, trainer: Trainer) -> None:
        if not torch.isfinite(loss):
            raise UserError(
                f"train/loss is {loss.item()} in epoch {trainer.current_epoch + 1}: training has "
                "diverged; lower optimizer.lr (checkpoints are those of the epochs before)"
            )
