"""Stop training when the loss is NaN or infinite."""

from typing import Any, NoReturn

import torch
from lightning import Callback, LightningModule, Trainer

from mnist_vision.common.checks import Count, checked
from mnist_vision.common.errors import UserError


class FiniteLoss(Callback):
    """Raise an error when the training loss becomes NaN or infinite.

    The mean loss of each epoch and the weights are checked before a checkpoint is written, so that
    none holds a network that has diverged.

    Args:
        every_n_steps: Steps between two checks of the loss of a single step. Each check makes a
            GPU wait.

    Raises:
        FieldError: If `every_n_steps` is less than 1.
    """

    @checked
    def __init__(self, every_n_steps: Count = 50) -> None:
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Check the loss of every n-th step."""
        if batch_idx % self.every_n_steps == 0:
            self._check(outputs["loss"], trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the weights that are validated and may be kept."""
        self._check_weights(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the mean loss of the epoch and the weights after its last step."""
        self._check(trainer.callback_metrics["train/loss"], trainer)
        self._check_weights(trainer, pl_module)

    def _check_weights(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, weights in pl_module.named_parameters():
            if not torch.isfinite(weights).all():
                self._fail(f"{name} is not finite", trainer)

    def _check(self, loss: torch.Tensor, trainer: Trainer) -> None:
        if not torch.isfinite(loss):
            self._fail(f"train/loss is {loss.item()}", trainer)

    def _fail(self, what: str, trainer: Trainer) -> NoReturn:
        raise UserError(
            f"{what} in epoch {trainer.current_epoch + 1}: training has diverged; "
            "lower optimizer.lr (the checkpoints are from earlier epochs)"
        )
