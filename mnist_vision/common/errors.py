"""Errors for people, and the checks that raise them."""

import math
import signal
from collections.abc import Sequence


class UserError(Exception):
    """Something the user can mend: one line that names the thing and says what to do."""


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception: nothing that mends errors may swallow it.

    Args:
        signum: Number of the signal.

    Attributes:
        exit_code: What the process exits with, by the convention of shells.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


def stop_behind(error: BaseException) -> Stopped | None:
    """The stop that an error came of, if any.

    A library that a signal cuts short may tidy up, fail at that, and raise that failure instead:
    torch.save does.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Stopped):
        cause = cause.__cause__ or cause.__context__
    return cause


class FieldError(ValueError):
    """A setting outside its range.

    Args:
        field: Name of the setting, as the constructor spells it.
        value: What was received.
        allowed: The allowed range, in words.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}={value}: must be {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; of its cause's, if it has none; else its name."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines:
        return lines[0].strip()
    cause = error.__cause__ or error.__context__
    return first_line(cause) if cause is not None else type(error).__name__


def check_whole(field: str, value: object, low: int, high: int | None = None) -> None:
    """Raises unless `value` is an integer of at least `low` and, where given, at most `high`.

    Raises:
        FieldError: Naming the field, the value and the range.
    """
    allowed = f"a whole number of at least {low}"
    if high is not None:
        allowed = f"a whole number from {low} to {high}"
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < low
        or (high is not None and value > high)
    ):
        raise FieldError(field, value, allowed)


def check_flag(field: str, value: object) -> None:
    """Raises unless `value` is true or false.

    Raises:
        FieldError: Naming the field and the value.
    """
    if not isinstance(value, bool):
        raise FieldError(field, value, "true or false")


def check_choice(field: str, value: object, choices: Sequence[str]) -> None:
    """Raises unless `value` is one of `choices`.

    Raises:
        FieldError: Naming the field, the value and the choices.
    """
    if value not in choices:
        raise FieldError(field, value, f"one of {', '.join(choices)}")


def check_list(field: str, value: object, low: int, high: int, of: str) -> None:
    """Raises unless `value` is a list of `low` to `high` elements.

    Raises:
        FieldError: Naming the field, the value and what it should be a list `of`.
    """
    count = f"{low}" if low == high else f"{low} to {high}"
    if not isinstance(value, Sequence) or isinstance(value, str) or not low <= len(value) <= high:
        raise FieldError(field, value, f"a list of {count} {of}")


def check_real(
    field: str, value: object, low: float, high: float = math.inf, *, open_low: bool = False
) -> None:
    """Raises unless `value` is a finite number in [low, high], or (low, high] with `open_low`.

    Raises:
        FieldError: Naming the field, the value and the range.
    """
    bounds = f"{'above' if open_low else 'of at least'} {low:g}"
    if not math.isinf(high):
        bounds += f" and at most {high:g}"
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
        or (open_low and value == low)
    ):
        raise FieldError(field, value, f"a number {bounds}")
