"""What a run was asked to do, and so whether another was asked the same."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Where a run reads and writes, what it logs, how it was started: none of it changes its figures.
_NOT_SETTINGS = ("hydra", "sweep", "ckpt_path", "logger")
_DATA_PATHS = ("root", "download")


def settings_of(config: DictConfig) -> dict[str, Any]:
    """The settings that a run's figures depend on, resolved: without paths and logging.

    Args:
        config: The configuration of a command, with or without Hydra's own.

    Returns:
        Nested plain values.
    """
    kept = OmegaConf.masked_copy(config, [str(k) for k in config if k not in _NOT_SETTINGS])
    OmegaConf.update(kept, "output_dir", ".")
    settings: dict[str, Any] = OmegaConf.to_container(kept, resolve=True)  # type: ignore[assignment]
    del settings["output_dir"]
    for key in _DATA_PATHS:
        settings.get("data", {}).pop(key, None)
    return settings


def typed_overrides(overrides: Any) -> list[str]:
    """Overrides, as Hydra keeps them, as they were typed: with ${...} not resolved."""
    typed: list[str] = OmegaConf.to_container(overrides, resolve=False)  # type: ignore[assignment]
    return typed


def quoted(value: str | Path | None) -> str:
    """A text, path or null as a value in Hydra's grammar."""
    text = "null" if value is None else str(value)
    if re.fullmatch(r"[\w./-]+", text, re.ASCII):
        return text
    return "'" + text.replace("'", "\\'") + "'"


def fingerprint(config: DictConfig) -> str:
    """Ten hexadecimal digits that two configurations share if their settings are the same."""
    text = json.dumps(settings_of(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
