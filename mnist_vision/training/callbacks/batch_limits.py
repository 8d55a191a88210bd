"""Refuse limits that leave no batch to train or validate on."""

from math import ceil

from lightning import Callback, LightningModule, Trainer

from mnist_vision.common.errors import UserError


class BatchLimits(Callback):
    """Check the limits of the trainer as soon as the number of batches is known.

    Lightning checks them later, and advises values that the settings of a run cannot have.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the limits, after the data module has loaded the data.

        Raises:
            UserError: If a share of the batches is less than one, or if the validation interval is
                longer than an epoch.
        """
        if stage != "fit":
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        keys = ("limit_train_batches", "limit_val_batches")
        # Lightning puts it in place of both.
        if trainer.overfit_batches:  # type: ignore[attr-defined]
            keys = ("overfit_batches", "overfit_batches")
        num_train = ceil(len(data.train_dataloader()) / trainer.world_size)
        num_val = min(len(loader) for loader in data.val_dataloader())
        num_batches = _limited(keys[0], trainer.limit_train_batches, num_train)
        _limited(keys[1], trainer.limit_val_batches, num_val)
        _check_interval(trainer, num_batches)


def _limited(key: str, limit: int | float, num_batches: int) -> int:
    """Apply a number of batches or, if it is a float, a share of them."""
    if isinstance(limit, int):
        return min(limit, num_batches)
    num_limited = int(limit * num_batches)
    if num_limited == 0:
        raise UserError(
            f"trainer.{key}={limit}: is less than one of {num_batches} batches; give their number, "
            f"such as trainer.{key}=1, or a larger share"
        )
    return num_limited


def _check_interval(trainer: Trainer, num_batches: int) -> None:
    interval = trainer.val_check_interval
    if trainer.check_val_every_n_epoch is None or not isinstance(interval, int):
        return
    if interval > num_batches:
        raise UserError(
            f"trainer.val_check_interval={interval}: must be at most {num_batches}, the batches of "
            "an epoch; to count across epochs, add trainer.check_val_every_n_epoch=null"
        )
