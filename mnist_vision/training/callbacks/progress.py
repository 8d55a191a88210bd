"""Show one progress bar for the whole training, and one line for each row of its history."""

import logging
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from mnist_vision.training.callbacks.history import History
from mnist_vision.training.callbacks.step_limit import StepLimit

log = logging.getLogger(__name__)


class EpochProgress(ProgressBar):
    """Show a bar with the time left, on a terminal, and a line of metrics for each measurement.

    tqdm redraws at most every half second, so that a step costs less than a microsecond.
    Lightning's bars collect all metrics at each redraw.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm[Any] | None = None
        self._is_shown = True
        self._is_ended = False  # the epoch

    def disable(self) -> None:
        """Show nothing; Lightning calls this in every process but the first."""
        self._is_shown = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, at the step that a resumed run goes on from."""
        self._bar = tqdm(
            total=_count_steps(trainer),
            initial=trainer.global_step,
            desc="training",
            unit="step",
            mininterval=0.5,
            leave=False,
            dynamic_ncols=True,
            disable=None if self._is_shown else True,  # None: disable without a terminal
        )

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the optimizer's steps, each of which may take several batches."""
        assert self._bar is not None
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        self._is_ended = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line of a validation, unless it is part of that of an epoch to come."""
        if not trainer.fit_loop.epoch_loop.done or self._is_ended:
            self._write_line(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line of the epoch."""
        self._is_ended = True
        self._write_line(trainer)

    def _write_line(self, trainer: Trainer) -> None:
        """Write the newest row of the history above the bar."""
        if not self._is_shown:
            return
        (history,) = (each for each in trainer.callbacks if isinstance(each, History))  # type: ignore[attr-defined]
        row = history.rows[-1]
        metrics = [
            f"{name.replace('/', ' ')} {row[name]:.4f}"
            for name in ("train/loss", "train/accuracy", "val/accuracy", "val/f1")
            if name in row
        ]
        if self._bar is not None:
            self._bar.clear()
        log.info("epoch %g/%s  %s", row["epoch"], trainer.max_epochs, "  ".join(metrics))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Remove the bar, so that the error has its own line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _count_steps(trainer: Trainer) -> int:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    limits = [each.max_steps for each in callbacks if isinstance(each, StepLimit)]
    num_steps = int(trainer.estimated_stepping_batches)
    return min([num_steps, *(limit for limit in limits if limit > 0)])
