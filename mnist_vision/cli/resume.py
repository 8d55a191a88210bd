"""Resume a run with the settings of its checkpoint and the changes of the command line."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from mnist_vision.common.conf import CONF_DIR, is_group
from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown
from mnist_vision.runs.directory import RunDirectory, find_checkpoint
from mnist_vision.runs.settings import explain_change, find_change, quoted
from mnist_vision.runs.targets import check_targets


@dataclass(frozen=True)
class ResumedRun:
    """A run to continue.

    Hydra composes `CONFIG_NAME`: conf/train.yaml, in which the settings of the checkpoint replace
    the groups. The overrides of the command line then apply to these settings.

    Args:
        settings: Settings of the checkpoint.
        directory: The directory of the run; None if the checkpoint was copied elsewhere.
        overrides: Overrides to compose with.
    """

    CONFIG_NAME: ClassVar[str] = "resumed"

    settings: dict[str, Any]
    directory: RunDirectory | None
    overrides: list[str]


def find_resumed(overrides: Sequence[str]) -> ResumedRun | None:
    """Find the run that a command line continues, by its `ckpt_path`; None if it continues none.

    Args:
        overrides: The overrides of the command line.

    Raises:
        UserError: If the checkpoint cannot be used, or an override chooses another option of a
            group than the run was started with.
    """
    if not any("ckpt_path" in override for override in overrides):
        return None
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    paths = [each for each in parsed if each.key_or_group == "ckpt_path" and not each.is_delete()]
    if not paths or paths[-1].is_sweep_override() or paths[-1].value() is None:
        return None
    return _resume(str(paths[-1].value()), parsed)


def _resume(ckpt_path: str, overrides: Sequence[Override]) -> ResumedRun:
    find_checkpoint(ckpt_path)
    # Importing torch takes seconds: only now that there is a checkpoint.
    from mnist_vision.models import find_architecture
    from mnist_vision.training.checkpoints import read_resumable, stored_settings

    checkpoint = read_resumable(ckpt_path)
    find_architecture(checkpoint["architecture"])
    stored = stored_settings(checkpoint, ckpt_path)
    typed = {override.key_or_group for override in overrides}
    check_targets(stored.settings, CONF_DIR, typed, f"ckpt_path={shown(ckpt_path)}")
    kept = [str(each.input_line) for each in overrides if not _repeats(each, stored.choices)]
    directory = _find_directory(ckpt_path, stored.settings)
    if not any(key.startswith("hydra.run") or key == "hydra" for key in typed):
        now = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
        path = directory.path if directory else Path("outputs", checkpoint["architecture"], now)
        kept.append(f"hydra.run.dir={quoted(path)}")
    _store(stored.settings, {"logger"} & typed)
    return ResumedRun(stored.settings, directory, kept)


def _find_directory(ckpt_path: str, settings: Mapping[str, Any]) -> RunDirectory | None:
    """Find the directory of the run that wrote a checkpoint; None if it was copied elsewhere."""
    from mnist_vision.training.checkpoints import read_checkpoint, stored_settings

    directory = RunDirectory.of_checkpoint(ckpt_path)
    if directory is None:
        return None
    last = directory.last_checkpoint
    if last.exists() and last.samefile(os.path.expanduser(ckpt_path)):
        return directory
    try:
        settings_there = stored_settings(read_checkpoint(last), last).settings
    except UserError:  # missing or damaged: nothing to compare with
        return directory
    return directory if find_change(settings_there, settings) is None else None


def _repeats(override: Override, choices: Mapping[str, Any]) -> bool:
    """Check whether an override repeats a group's option that the run was started with.

    Loggers may change, so they never count as repeated.

    Raises:
        UserError: If it chooses another option of a group.
    """
    group = override.key_or_group
    if not is_group(group) or group == "logger" or override.package:
        return False
    if override.is_sweep_override() or override.is_delete():
        raise UserError(explain_change(str(override.input_line), f"with {group}=NAME"))
    value, stored = override.value(), choices.get(group)
    if value != stored and (value or stored):
        trained = f"with {group}={stored or 'null'}"
        raise UserError(explain_change(str(override.input_line), trained))
    return True


def _store(settings: Mapping[str, Any], composed_groups: Collection[str]) -> None:
    """Register the configuration to resume with: stored settings, and groups to compose anew."""
    primary = OmegaConf.load(CONF_DIR / "train.yaml")
    primary.defaults = [
        entry
        for entry in primary.defaults
        if isinstance(entry, str)
        or any(str(key).startswith("override hydra") or key in composed_groups for key in entry)
    ]
    kept = {key: value for key, value in settings.items() if key not in composed_groups}
    ConfigStore.instance().store(ResumedRun.CONFIG_NAME, OmegaConf.merge(primary, kept))
