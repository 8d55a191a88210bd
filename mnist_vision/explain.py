"""Exceptions as one line for people."""

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from mnist_vision.errors import FieldError, UserError

# Choices that are there only with an extra of this package.
EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/sweeper/optuna": "optuna",
}


def explain(
    error: BaseException, known_keys: Callable[[], list[str]], log_file: Path | None = None
) -> str:
    """Says in one line what went wrong and, where it is known, what to do.

    Args:
        error: What was raised.
        known_keys: Gives the keys of the configuration; called only if a key is unknown.
        log_file: Where the traceback is, if anywhere; named if the error is an unforeseen one.
    """
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _explain_instantiation(error, known_keys)
    if isinstance(error, UserError | FieldError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _explain_missing_choice(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_override(error, known_keys)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    # Lightning's own word for settings that cannot be had; importing its class takes seconds.
    if type(error).__name__ == "MisconfigurationException":
        return first_line(error)
    where = f" (traceback in {log_file})" if log_file is not None else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def similar(word: str, known: Iterable[str]) -> str:
    """A suggestion to put behind "unknown WORD": the most similar known word, or nothing."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; of its cause's, if it has none; else its name."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines:
        return lines[0].strip()
    cause = error.__cause__ or error.__context__
    return first_line(cause) if cause is not None else type(error).__name__


def _explain_instantiation(error: BaseException, known_keys: Callable[[], list[str]]) -> str:
    """Puts the key of the part that could not be made before the reason."""
    full_key = re.search(r"full_key: (\S+)", str(error))
    key = full_key.group(1) if full_key else ""
    cause = error.__cause__
    assert cause is not None
    if isinstance(cause, FieldError):
        return str(FieldError(f"{key}.{cause.field}", cause.value, cause.allowed))
    if isinstance(cause, TypeError | ValueError):
        return f"{key}: {first_line(cause)}"
    reason = explain(cause, known_keys)
    return reason if isinstance(cause, UserError) or not key else f"{key}: {reason}"


def _explain_missing_choice(error: MissingConfigException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wanted = re.search(r"Could not find '([^']+)'", str(error))
    if wanted is None or not error.options:
        return lines[0]
    group, _, name = wanted.group(1).rpartition("/")
    extra = EXTRAS.get(wanted.group(1))
    if extra is not None:
        return f"{group}={name}: is not installed; pip install 'mnist_vision[{extra}]'"
    choices = [option for option in error.options if not option.startswith(".")]
    return f"{group}={name}: unknown{similar(name, choices) or '.'} Known: {', '.join(choices)}"


def _explain_override(error: BaseException, known_keys: Callable[[], list[str]]) -> str:
    if "Ambiguous value" in str(error):
        return f"{first_line(error)}: to run each of several values, add --multirun"
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if unknown is None:
        return first_line(error)
    key = unknown.group(1).partition("@")[0]
    known = known_keys()
    # A key whose last part alone is given or wrong is often meant.
    leaves = {known_key.rpartition(".")[2]: known_key for known_key in known}
    suggestion = similar(key, known)
    if not suggestion:
        match = difflib.get_close_matches(key.rpartition(".")[2], leaves, n=1)
        suggestion = f"; did you mean {leaves[match[0]]}?" if match else ""
    return f"unknown key {key}{suggestion or '; --cfg job lists all'}"
