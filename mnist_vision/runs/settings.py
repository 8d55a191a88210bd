"""The settings of a run: as plain values, as a fingerprint, and as text for a command line."""

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, ListConfig, OmegaConf

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown

# Where a run writes and how it was started.
_NOT_SETTINGS = ("hydra", "sweep", "ckpt_path", "overwrite", "output_dir")
_PATHS = ("ckpt_path", "output", "data.root", "model.weights")
OUTPUT_DIR = "${output_dir}"
# Settings that may change when a run is resumed. A key stands for all keys below it.
MAY_CHANGE = (
    "suite",
    "test",
    "compile",
    "data.root",
    "data.download",
    "data.device",
    "logger",
    "trainer.accelerator",
    "trainer.detect_anomaly",
    "trainer.devices",
    "trainer.log_every_n_steps",
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.profiler",
    "trainer.strategy",
)


def run_settings(config: DictConfig) -> dict[str, Any]:
    """Resolve the settings of a run to plain values.

    References to the output directory stay, because a run may be resumed in another one.

    Args:
        config: The configuration of a command, with or without Hydra's own.

    Returns:
        Nested plain values by group.
    """
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.update(kept, "output_dir", f"\\{OUTPUT_DIR}")  # escaped, so that it stays
    settings: dict[str, Any] = OmegaConf.to_container(kept, resolve=True)  # type: ignore[assignment]
    return {key: value for key, value in settings.items() if key not in _NOT_SETTINGS}


def figure_settings(config: DictConfig) -> dict[str, Any]:
    """Resolve those settings that a run's figures depend on: no logger, test or place of data."""
    settings = run_settings(config)
    for key in ("logger", "suite", "test"):
        settings.pop(key, None)
    if not settings.get("compile"):
        settings.pop("compile", None)  # results of earlier versions do not have it
    if isinstance(settings.get("data"), dict):
        for key in ("root", "download", "device"):
            settings["data"].pop(key, None)
    return settings


def hyperparameters(config: DictConfig) -> dict[str, Any]:
    """Select the settings that runs are compared by in a logger; a target becomes a name."""
    selected = {
        "seed": config.seed,
        "model": config.model,
        "optimizer": config.optimizer,
        "scheduler": config.scheduler,
        "batch_size": config.data.batch_size,
        "augmentation": config.data.augmentation,
        "max_epochs": config.trainer.max_epochs,
        "precision": config.trainer.precision,
    }

    def name_target(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        named = {k: name_target(v) for k, v in node.items() if not k.startswith("_")}
        target = node.get("_target_")
        return {"name": target.rpartition(".")[2]} | named if target else named

    named: dict[str, Any] = name_target(OmegaConf.to_container(OmegaConf.create(selected)))
    return named


def fingerprint(config: DictConfig) -> str:
    """Hash the settings that figures depend on to ten hexadecimal digits."""
    return fingerprint_of(figure_settings(config))


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """Hash the result of `figure_settings`, as in `results.json`, to ten hexadecimal digits."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to values by dotted key; a list is a value."""
    if not isinstance(node, Mapping) or not node:
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, child in node.items():
        flat |= flatten(child, f"{prefix}.{key}" if prefix else str(key))
    return flat


def find_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the first difference in settings that must not change when a run is resumed.

    Args:
        before: The settings that the run was started with.
        now: The settings to resume it with.

    Returns:
        The new setting, and what the run was trained with; None without a difference.
    """
    old, new = _as_text(before), _as_text(now)
    for key in (*new, *old):
        is_free = any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)
        if old.get(key) != new.get(key) and not is_free:
            asked = f"{key}={new[key]}" if key in new else f"~{key}"
            return asked, f"with {key}={old[key]}" if key in old else f"without {key}"
    return None


def check_unchanged(stored: Mapping[str, Any], config: DictConfig) -> None:
    """Refuse a configuration that differs from stored settings in what cannot change.

    Args:
        stored: Settings of a checkpoint.
        config: The configuration to resume training with.

    Raises:
        UserError: Naming the first such setting, the value it was trained with, and the way on.
    """
    change = find_change(stored, run_settings(config))
    if change is not None:
        raise UserError(explain_change(*change))


def _as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Flatten settings to JSON texts, in which NaN equals NaN."""
    return {key: json.dumps(value, default=str) for key, value in flatten(settings).items()}


def explain_change(asked: str, trained: str) -> str:
    """Explain in one line that a setting cannot change, and what to do.

    Args:
        asked: The setting as the command line has it.
        trained: What the run was trained with, beginning with "with" or "without".
    """
    return (
        f"{asked}: the run was trained {trained}, which cannot change when it is resumed; "
        "leave it out, or start a new run without ckpt_path"
    )


def make_paths_absolute(config: DictConfig, folder: str) -> None:
    """Make relative paths among the settings absolute, as a job may change its folder.

    Paths that begin with `~` are expanded where they are used: that may be on another machine.

    Args:
        config: The configuration, changed in place.
        folder: The folder that the paths are relative to.
    """
    for key in _PATHS:
        value = OmegaConf.select(config, key)
        values = value if isinstance(value, ListConfig) else [value]
        absolute = [_absolute(key, each, folder) for each in values]
        if absolute != values:
            OmegaConf.update(config, key, absolute if values is value else absolute[0])


def _absolute(key: str, value: Any, folder: str) -> Any:
    """Make one value of a setting absolute, if it is a relative path."""
    if not isinstance(value, str) or value.startswith("~"):
        return value
    path = os.path.join(folder, value)
    # Weights may be a name.
    return path if key != "model.weights" or os.path.exists(path) else value


def typed_overrides(overrides: Any) -> list[str]:
    """Get overrides without resolving interpolations such as ${...}."""
    typed: list[str] = OmegaConf.to_container(overrides, resolve=False)  # type: ignore[assignment]
    return typed


def command_line(command: str, **settings: str | os.PathLike[str]) -> str:
    """Write a command to paste into a shell, quoted for Hydra and for the shell.

    Args:
        command: Name of the command.
        settings: Paths by key; shown relative where they lie below the current folder.
    """
    arguments = [argument(key, path) for key, path in settings.items()]
    return " ".join([program("python"), "-m", f"mnist_vision.{command}", *arguments])


def argument(key: str, path: str | os.PathLike[str]) -> str:
    """Write a setting that is a path, quoted for Hydra and for the shell."""
    return shlex.quote(f"{key}={quoted(shown(path))}")


def program(name: str) -> str:
    """Write the name of a program beside this Python or, if a shell would not find it, its path."""
    path = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not path.exists() or (found is not None and Path(found).parent == path.parent):
        return name
    return shlex.quote(str(shown(path)))


def quoted(value: str | Path | None) -> str:
    """Write a text, path or null as a value in Hydra's grammar."""
    text = "null" if value is None else str(value)
    return text if re.fullmatch(r"[\w./-]+", text, re.ASCII) else quoted_text(text)


def quoted_text(text: str) -> str:
    """Quote a text in Hydra's grammar, so that it is no number, truth value or null."""
    # A shell quotes with single quotes, so double ones are easier to read inside.
    quote = Quote.single if '"' in text else Quote.double
    return QuotedString(text.replace("${", r"\${"), quote).with_quotes()
