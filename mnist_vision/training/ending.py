"""Say why training ended."""

from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer
from omegaconf import DictConfig

from mnist_vision.training.callbacks.step_limit import StepLimit


def reason_of_end(trainer: Trainer, num_epochs: float, settings: DictConfig) -> str:
    """Say what ended a training: a setting and its value, or the reason of a callback.

    Args:
        trainer: The trainer, after `fit`.
        num_epochs: The epochs it was trained for.
        settings: The settings `trainer`.
    """
    limit = reached_limit(trainer)
    if num_epochs >= settings.max_epochs:
        limit = "max_epochs"
    if limit is not None:
        return f"trainer.{limit}={settings[limit]}"
    messages = [
        callback.stopping_reason_message
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message
    ]
    message = messages[0] if messages else "a callback"
    return message.removesuffix(" Signaling Trainer to stop.")


def reached_limit(trainer: Trainer) -> str | None:
    """Name the limit that training has come to: "max_steps" or "max_time"; None if to neither.

    Both may be raised when the run is resumed.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StepLimit) and callback.is_reached(trainer):
            return "max_steps"
        remaining = callback.time_remaining() if isinstance(callback, Timer) else None
        if remaining is not None and remaining <= 0:
            return "max_time"
    return None
