"""Show one progress bar for the whole training, and one line an epoch."""

import logging
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

log = logging.getLogger(__name__)


class EpochProgress(ProgressBar):
    """Show a bar with the time left, on a terminal, and a line of metrics for each epoch.

    tqdm redraws at most every half second, so that a step costs less than a microsecond.
    Lightning's bars collect all metrics at each redraw.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm[Any] | None = None
        self._is_shown = True

    def disable(self) -> None:
        """Show nothing; Lightning calls this in every process but the first."""
        self._is_shown = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, at the step that a resumed run goes on from."""
        self._bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
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
        """Count a step."""
        assert self._bar is not None
        self._bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line of the epoch above the bar."""
        if not self._is_shown:
            return
        assert self._bar is not None
        metrics = trainer.callback_metrics
        shown = [
            f"{name.replace('/', ' ')} {float(metrics[name]):.4f}"
            for name in ("train/loss", "train/accuracy", "val/accuracy", "val/f1")
            if name in metrics
        ]
        self._bar.clear()
        log.info("epoch %d/%s  %s", trainer.current_epoch + 1, trainer.max_epochs, "  ".join(shown))

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
