"""Stop training after a number of steps."""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class StepLimit(Callback):
    """Stop after `max_steps` optimizer steps in all.

    With Lightning's own limit, a run that is resumed at the end of an epoch ends this epoch again.

    Args:
        max_steps: The limit; -1 for none.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    def is_reached(self, trainer: Trainer) -> bool:
        """Test whether training has come to the limit."""
        return 0 <= self.max_steps <= trainer.global_step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop a run that was resumed at the limit."""
        trainer.should_stop = trainer.should_stop or self.is_reached(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop after the last step."""
        trainer.should_stop = trainer.should_stop or self.is_reached(trainer)
