"""Put the settings of the run into each of its checkpoints."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mnist_vision.runs.record import RunSettings
from mnist_vision.training.checkpoints import add_settings


class KeptSettings(Callback):
    """Put the settings of the run into each checkpoint, so that one file is enough to go on.

    Args:
        settings: The settings of the run.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the settings to the checkpoint."""
        add_settings(checkpoint, self.settings)
