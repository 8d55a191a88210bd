"""Explain exceptions to users, each in one line."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from mnist_vision.cli.usage import choices
from mnist_vision.common.errors import FieldError, UserError, first_line
from mnist_vision.common.files import explain_os_error
from mnist_vision.common.suggestions import similar
from mnist_vision.runs.settings import quoted

# Choices that need an extra of this package.
EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/sweeper/optuna": "optuna",
    "logger/mlflow": "mlflow",
    "logger/wandb": "wandb",
}


def explain(
    error: BaseException,
    known_keys: Callable[[], list[str]] = list,
    log_file: Path | None = None,
    setting: str = "hydra.run.dir",
) -> str:
    """Explain in one line what went wrong and, if known, what to do.

    Args:
        error: The exception.
        known_keys: Lists the valid keys for suggestions; called only for an unknown key.
        log_file: The file with the traceback, if any, in the output directory; named if the error
            is an unexpected one.
        setting: The setting that chooses the output directory.
    """
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _explain_instantiation(error, known_keys)
    if isinstance(error, UserError | FieldError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _explain_missing_choice(error)
    if isinstance(error, OverrideParseException):
        return _explain_syntax(error.override)
    if isinstance(error, ConfigAttributeError | ConfigKeyError) and error.full_key:
        return f"{error.full_key} is required"  # it was removed with ~
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_override(error, known_keys)
    if isinstance(error, ValueError) and isinstance(error.__cause__, OSError):
        error = error.__cause__  # logging cannot open its file
    if isinstance(error, OSError):
        return explain_os_error(error, log_file.parent if log_file is not None else None, setting)
    # Lightning's class for settings that it cannot use; importing it takes seconds.
    if type(error).__name__ == "MisconfigurationException":
        return first_line(error)
    where = f" (traceback in {log_file})" if log_file is not None else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def _explain_instantiation(error: BaseException, known_keys: Callable[[], list[str]]) -> str:
    """Name the key of the object that could not be created, and the reason."""
    full_key = re.search(r"full_key: (\S+)", str(error))
    key = full_key.group(1) if full_key else ""
    cause = error.__cause__
    assert cause is not None
    if isinstance(cause, FieldError):
        return str(cause.inside(key))
    if isinstance(cause, TypeError | ValueError):
        return f"{key}: {first_line(cause)}"
    for choice, extra in EXTRAS.items():
        part = choice.replace("/", ".")
        if f"{key}.".startswith(f"{part}.") and isinstance(cause, ImportError):
            return _not_installed(part, extra)
    reason = explain(cause, known_keys)
    return reason if isinstance(cause, UserError) or not key else f"{key}: {reason}"


def _explain_missing_choice(error: MissingConfigException) -> str:
    message, wanted = str(error), error.missing_cfg_file
    if not wanted or "/" not in wanted:
        return first_line(error)
    # Hydra does not name a group whose choices are all nested.
    named = re.search("Available options in '([^']+)'", message)
    group = named.group(1) if named else wanted.partition("/")[0]
    name = wanted.removeprefix(f"{group}/")
    if wanted in EXTRAS:
        return _not_installed(f"{group}={name}", EXTRAS[wanted])
    # Hydra lists its search path, but no nested choices.
    folders = map(Path, re.findall(r"path=file://(.+)", message))
    known = list(dict.fromkeys([*(error.options or []), *choices(folders, group)]))
    return f"{group}={name}: unknown{similar(name, known) or '.'} Known: {', '.join(known)}"


def _not_installed(what: str, extra: str) -> str:
    return f"{what}: is not installed; pip install 'mnist_vision[{extra}]'"


def _explain_syntax(argument: str) -> str:
    """Show how to quote a value that Hydra's grammar cannot parse."""
    key, equals, value = argument.partition("=")
    if not equals or not re.fullmatch(r"[\w.+~@:/-]+", key, re.ASCII):
        return f"{_printable(argument)}: must be GROUP=CHOICE or KEY=VALUE, without spaces around ="
    return f"{_printable(argument)}: Hydra cannot parse the value{_how_to_quote(key, value)}"


def _how_to_quote(key: str, value: str) -> str:
    if not value.isprintable():
        return ""
    typed = quoted(value)
    if re.fullmatch(r"\[.*\]", value):
        typed = f"[{','.join(map(quoted, value[1:-1].split(',')))}]"
    return f"; if it is text, type {shlex.quote(f'{key}={typed}')}"


def _printable(text: str) -> str:
    """Escape characters that cannot be printed."""
    return text if text.isprintable() else repr(text)[1:-1]


def _explain_override(error: BaseException, known_keys: Callable[[], list[str]]) -> str:
    ambiguous = re.match("Ambiguous value for argument '(.*)'\n", str(error))
    if ambiguous:
        key, _, value = ambiguous.group(1).partition("=")
        return (
            f"{ambiguous.group(1)}: to run each of several values, add --multirun"
            f"{_how_to_quote(key, value)}"
        )
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if unknown is None:
        return first_line(error)
    key, known = unknown.group(1), known_keys()
    name = key.partition("@")[0]
    suggestion = "" if name in known else similar(name, known, separator=".")
    return f"unknown key {key}{suggestion or '; --cfg job lists all'}"
