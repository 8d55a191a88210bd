"""Collect the metrics of a run, each with the step that it was measured at."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from mnist_vision.runs.old_names import add_steps


class History(Callback):
    """Collect a row at each validation and at the end of each epoch.

    A row has `epoch`, the epochs trained so far (0.5 is half of the first one), `step`, the
    optimizer steps so far, `seconds` so far, and by log key the metrics that were measured at this
    step, and no others. A validation at the end of an epoch shares its row.

    Attributes:
        rows: The rows so far, with those before a run was resumed.
        seconds: Time of training and validation, with that of the epochs before a run was resumed.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._earlier = 0.0
        self._started = time.perf_counter()
        self._old: dict[str, Tensor] = {}
        self._resumed_step = 0

    @property
    def seconds(self) -> float:
        """Time from the start of training to now."""
        return self._earlier + time.perf_counter() - self._started

    def newest(self, metric: str) -> float:
        """Get the newest value of a metric."""
        return next(row[metric] for row in reversed(self.rows) if metric in row)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what was measured before."""
        self._remember_old(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what was measured before."""
        self._remember_old(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add what a validation measured."""
        self._add_metrics(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add what the epoch measured."""
        self._add_metrics(trainer)

    def _add_metrics(self, trainer: Trainer) -> None:
        """Add the metrics to the row of this step, or to a new row if it has them already."""
        metrics = trainer.callback_metrics
        new = {name: value for name, value in metrics.items() if value is not self._old.get(name)}
        # float32 has seven digits; more would be noise in results.json. LearningRateMonitor's rate
        # is that of an earlier step.
        row = {
            name: float(f"{float(value):.7g}")
            for name, value in new.items()
            if not name.startswith("train/lr")
        }
        self._remember_old(trainer)
        is_same_step = bool(self.rows) and self.rows[-1]["step"] == trainer.global_step
        if not is_same_step or self.rows[-1].keys() & row.keys():
            # A callback may average the weights after the last step, to be measured again.
            epoch = self.rows[-1]["epoch"] if is_same_step else _count_epochs(trainer)
            self.rows.append({"epoch": epoch, "step": trainer.global_step})
        self.rows[-1] |= {"seconds": round(self.seconds, 3)} | row

    def _remember_old(self, trainer: Trainer) -> None:
        """Remember values that were measured: Lightning keeps them until it measures them again."""
        self._old = dict(trainer.callback_metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the time for the checkpoint."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows and the time of the checkpoint."""
        self.rows = add_steps(state_dict["rows"], self._resumed_step)
        self._earlier = state_dict["seconds"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember the step of the checkpoint; Lightning calls this before `load_state_dict`."""
        self._resumed_step = checkpoint["global_step"]


def _count_epochs(trainer: Trainer) -> float:
    """Count the epochs trained, in an epoch or at its end; a whole number at its end."""
    share = (trainer.fit_loop.batch_idx + 1) / trainer.num_training_batches
    return trainer.current_epoch + (1 if share >= 1 else round(share, 4))
