"""The metrics of every epoch, kept through interruption and resumption."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class History(Callback):
    """Collects a row an epoch: its number, from 1, the time so far, and the metrics by log key.

    Attributes:
        rows: The rows so far; those of a resumed run start with the ones it had.
        seconds: Time spent in training and validation; a resumed run's starts with that of the
            epochs it had completed.
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
        """Starts the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Adds the epoch's row."""
        # float32 carries seven digits; the rest would be noise in results.json.
        metrics = {n: float(f"{float(v):.7g}") for n, v in trainer.callback_metrics.items()}
        progress = {"epoch": trainer.current_epoch + 1, "seconds": round(self.seconds, 3)}
        self.rows.append(progress | metrics)

    def state_dict(self) -> dict[str, Any]:
        """The rows and the time, for the checkpoint."""
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows and the time of the checkpoint over."""
        self.rows = list(state_dict["rows"])
        self._earlier = state_dict["seconds"]
