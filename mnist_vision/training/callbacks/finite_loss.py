"""A run whose loss is no number any more has failed."""

from typing import Any, NoReturn

import torch
from lightning import Callback, LightningModule, Trainer

from mnist_vision.common.errors import UserError, check_whole


class FiniteLoss(Callback):
    """Ends the run with an error when the training loss becomes NaN or infinite.

    The mean loss of an epoch and the weights it ends with are looked at before checkpoints are
    written, so that none is ever made of a spoilt network.

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
        """Checks the mean loss of the epoch, and the weights after its last step."""
        self._check(trainer.callback_metrics["train/loss"], trainer)
        for name, weights in pl_module.named_parameters():
            if not torch.isfinite(weights).all():
                self._fail(f"{name} is not finite", trainer)

    def _check(self, loss: torch.Tensor, trainer: Trainer) -> None:
        if not torch.isfinite(loss):
            self._fail(f"train/loss is {loss.item()}", trainer)

    def _fail(self, what: str, trainer: Trainer) -> NoReturn:
        raise UserError(
            f"{what} in epoch {trainer.current_epoch + 1}: training has diverged; "
            "lower optimizer.lr (checkpoints are those of the epochs before)"
        )
