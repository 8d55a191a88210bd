"""Collect the metrics of each epoch, also those of a resumed run."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class History(Callback):
    """Collect a row for each epoch: its number, from 1, the time so far, and metrics by log key.

    Attributes:
        rows: The rows so far, with those before a run was resumed.
        seconds: Time of training and validation, with that of the epochs before a run was resumed.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._earlier = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time from the start of training to now."""
        return self._earlier + time.perf_counter() - self._started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of the epoch."""
        # float32 has seven digits; more would be noise in results.json.
        metrics = {n: float(f"{float(v):.7g}") for n, v in trainer.callback_metrics.items()}
        progress = {"epoch": trainer.current_epoch + 1, "seconds": round(self.seconds, 3)}
        self.rows.append(progress | metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the time for the checkpoint."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows and the time of the checkpoint."""
        self.rows = list(state_dict["rows"])
        self._earlier = state_dict["seconds"]
