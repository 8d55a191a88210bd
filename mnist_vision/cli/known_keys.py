"""Refuse settings that nothing reads, and name those that are missing. Imports no torch."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.conf import CONF_DIR, is_group
from mnist_vision.common.errors import UserError
from mnist_vision.common.suggestions import similar

# Groups that hold any number of objects by name; the others hold one object, or settings.
_COLLECTIONS = ("callbacks", "logger")

# Why conf/trainer/default.yaml lacks these arguments of Lightning's Trainer.
_NO_TRAINER_SETTINGS = {
    "barebones": "it would skip checkpoints; measure speed with mnist_vision.benchmark",
    "callbacks": "add a callback with +callbacks.NAME._target_=CLASS",
    "default_root_dir": "choose the directory with hydra.run.dir=DIR",
    "enable_autolog_hparams": "loggers get all settings; logger=null removes them",
    "enable_checkpointing": "each run keeps its best and its last checkpoint",
    "enable_progress_bar": "~callbacks.progress removes the bar",
    "fast_dev_run": "it would skip checkpoints; debug=smoke is a short run",
    "limit_predict_batches": "nothing is predicted",
    "limit_test_batches": "the test uses all test images",
    "logger": "choose loggers with logger=NAME, or none with logger=null",
    "model_registry": "it would have no effect",
}


def check_overrides(overrides: Iterable[str], config: DictConfig, command: str) -> None:
    """Check that the command line adds no key that nothing reads.

    Args:
        overrides: The overrides of the command line.
        config: The composed configuration, with Hydra's own.
        command: Name of the command.

    Raises:
        UserError: Naming the first wrong override, and what to do.
    """
    primary, groups = _read_primary(command)
    for override in overrides:
        _check_added_key(override, config, primary, groups)
        _check_choice(override, groups)


def check_keys(config: DictConfig, command: str) -> None:
    """Check that each required key is there, each part is an object, and the trainer's are known.

    Args:
        config: The composed configuration.
        command: Name of the command.

    Raises:
        UserError: Naming the first wrong key, and what to do.
    """
    primary, groups = _read_primary(command)
    required = [group for group, choice in groups.items() if choice is not None]
    for key in (*primary, *required):
        is_given = key in config and not OmegaConf.is_missing(config, key)
        if not is_given and key not in ("hydra", "logger"):
            raise UserError(f"{key} is required; give it as {key}=VALUE")
    for group in required:
        if group in config:
            _check_part(config, group)
    _check_trainer(config)


def _read_primary(command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the keys of a command's configuration, and its groups with their default options."""
    primary: Any = OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{command}.yaml"))
    entries = [entry for entry in primary.pop("defaults") if isinstance(entry, Mapping)]
    choices = {group: choice for entry in entries for group, choice in entry.items()}
    return primary, {k: v for k, v in choices.items() if not k.startswith("override ")}


def _check_added_key(
    override: str, config: DictConfig, primary: Mapping[str, Any], groups: Mapping[str, Any]
) -> None:
    """Refuse a key that `+` adds where nothing reads it. Hydra refuses others by itself."""
    added = re.match(r"\+\+?([^=@]+)", override)
    if added is None:
        return
    top, _, rest = added.group(1).partition(".")
    top = top.partition("/")[0]
    if top == "hydra":
        return
    known = [*primary, *groups]
    sources = config.hydra.runtime.config_sources
    folders = [Path(each.path) for each in sources if each.schema == "file"]
    if top not in known and not any((folder / top).is_dir() for folder in folders[1:]):
        raise UserError(f"unknown key {added.group(1)}{similar(top, known)}; --cfg job lists all")
    inline = primary.get(top)
    # The settings of a group are the arguments of its object, which are checked when it is made.
    if isinstance(inline, Mapping) and top not in groups and rest.partition(".")[0] not in inline:
        raise UserError(f"unknown key {added.group(1)}; {top} has {', '.join(inline)}")


def _check_choice(override: str, groups: Mapping[str, Any]) -> None:
    """Refuse `GROUP=[A,B]` for a group of one object. Hydra would merge A and B."""
    key, _, value = override.partition("=")
    names = value.strip("[]").replace(" ", "")
    is_one = (key in groups or is_group(key)) and key not in _COLLECTIONS
    if is_one and value.startswith("[") and "," in names:
        raise UserError(
            f"{override}: only one can be chosen; to run each, add --multirun and write "
            f"{key}={names}"
        )


def _check_part(config: DictConfig, group: str) -> None:
    """Check that a group holds one object, or that each entry of a collection is one."""
    if group not in _COLLECTIONS:
        if not _is_object(config[group]):
            raise UserError(f"{group}={config[group]}: has no _target_; choose {group}=NAME")
        return
    for name, entry in config[group].items():
        if not _is_object(entry):
            raise UserError(
                f"{group}.{name}={entry}: has no _target_; remove it with ~{group}.{name}"
            )


def _is_object(node: Any) -> bool:
    return isinstance(node, DictConfig) and "_target_" in node


def _check_trainer(config: DictConfig) -> None:
    trainer = config.get("trainer", {})
    if trainer.get("_target_") != "lightning.Trainer":
        return
    known = OmegaConf.load(CONF_DIR / "trainer" / "default.yaml")
    for key in map(str, trainer):
        if key not in known:
            reason = _NO_TRAINER_SETTINGS.get(key)
            if reason is not None:
                raise UserError(f"trainer.{key}: cannot be set: {reason}")
            names = [f"trainer.{name}" for name in map(str, known)]
            raise UserError(f"unknown key trainer.{key}{similar(f'trainer.{key}', names, '.')}")
