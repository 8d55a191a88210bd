"""The settings of the run, in each of its checkpoints."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mnist_vision.runs.record import RunSettings
from mnist_vision.training.checkpoints import add_settings


class KeptSettings(Callback):
    """Puts the settings of the run into each checkpoint, so that the file alone is enough.

    Args:
        settings: What the run was asked to do.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds them to what is saved."""
        add_settings(checkpoint, self.settings)
