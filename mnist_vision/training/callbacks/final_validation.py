"""Validate the weights that training ends with."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class FinalValidation(Checkpoint):
    """Validate when training ends, unless the weights have not changed since a validation.

    Lightning would end without, if a run validates less often than once an epoch, or if a callback
    ends it with the epoch or changes the weights at the end.

    A `Checkpoint`, because Lightning calls these after the callbacks that stop training.
    """

    def __init__(self) -> None:
        self._validated: list[torch.Tensor] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember which weights are validated: `WeightAveraging` has put the average here."""
        self._validated = [_copy_weights(pl_module)]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember which weights are trained on, of which those are the average."""
        self._validated.append(_copy_weights(pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate after the last epoch."""
        if _is_done(trainer):
            self._validate(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate weights that a callback averaged at the end, if any were trained."""
        if self._validated:
            self._validate(trainer, pl_module)

    def _validate(self, trainer: Trainer, pl_module: LightningModule) -> None:
        weights = _copy_weights(pl_module)
        if not any(torch.equal(weights, validated) for validated in self._validated):
            # As Lightning's training loop does.
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True


def _copy_weights(module: LightningModule) -> torch.Tensor:
    return torch.cat([weights.detach().flatten() for weights in module.parameters()])


def _is_done(trainer: Trainer) -> bool:
    """Test whether training ends after this epoch, as `FitLoop.done` does, but change nothing."""
    loop: Any = trainer.fit_loop
    is_last = loop.epoch_progress.current.processed == trainer.max_epochs
    is_stopped = trainer.should_stop and loop._can_stop_early
    return bool(is_last or is_stopped)
