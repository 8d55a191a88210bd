"""Errors that users see as one line."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class UserError(Exception):
    """An error that the user can fix: one line that names the thing and says what to do."""


class Stopped(BaseException):
    """A stop by SIGINT or SIGTERM. Not an Exception, so that no error handler swallows it.

    Args:
        signum: Number of the signal.

    Attributes:
        exit_code: Exit code of the process, by the convention of shells.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


def stop_behind(error: BaseException) -> Stopped | None:
    """Find the stop that caused an error, if any.

    A library that is interrupted may fail while it cleans up and raise that failure instead, as
    torch.save does.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Stopped):
        cause = cause.__cause__ or cause.__context__
    return cause


class FieldError(ValueError):
    """A setting that cannot be used.

    Args:
        field: Name of the setting, as the constructor spells it.
        value: What was received.
        problem: What is wrong with it, or what it must be.
    """

    def __init__(self, field: str, value: object, problem: str) -> None:
        super().__init__(f"{field}={value}: {problem}")
        self.field = field
        self.value = value
        self.problem = problem

    def inside(self, group: str) -> "FieldError":
        """The same error, its field named in full: `lr` inside `optimizer` is `optimizer.lr`."""
        return FieldError(f"{group}.{self.field}", self.value, self.problem)


@contextmanager
def settings_of(group: str) -> Iterator[None]:
    """Name settings in full in the errors of this block.

    Args:
        group: The configuration group of the object that raises them.
    """
    try:
        yield
    except FieldError as error:
        raise error.inside(group) from error


def first_line(error: BaseException) -> str:
    """Get the first line of the message of an exception, or of its cause, or else its name."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines:
        return lines[0].strip()
    cause = error.__cause__ or error.__context__
    return first_line(cause) if cause is not None else type(error).__name__


def printable(text: str) -> str:
    """Replace control characters by spaces: the text may come from a file or its name."""
    return "".join(char if char.isprintable() else " " for char in text)


def fail(message: str, exit_code: int) -> NoReturn:
    """Print one error line and end the process."""
    sys.stdout.flush()
    sys.stderr.write(f"error: {printable(message)}\n")
    sys.exit(exit_code)
