"""Say why training ended."""

from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer


def reason_of_end(trainer: Trainer, num_epochs: float, max_time: object) -> str:
    """Say what ended a training: a setting and its value, or the reason of a callback.

    Args:
        trainer: The trainer, after `fit`.
        num_epochs: The epochs it was trained for.
        max_time: The setting of that name.
    """
    if num_epochs >= (trainer.max_epochs or 0):
        return f"trainer.max_epochs={trainer.max_epochs}"
    if trainer.global_step == trainer.max_steps:
        return f"trainer.max_steps={trainer.max_steps}"
    if is_out_of_time(trainer):
        return f"trainer.max_time={max_time}"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            return callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
    return "a callback"


def is_out_of_time(trainer: Trainer) -> bool:
    """Test whether the time of a `Timer`, that of trainer.max_time for example, is over."""
    timers = [each for each in trainer.callbacks if isinstance(each, Timer)]  # type: ignore[attr-defined]
    remaining = [timer.time_remaining() for timer in timers]
    return any(seconds is not None and seconds <= 0 for seconds in remaining)
