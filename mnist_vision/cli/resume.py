"""Going on with a run: its checkpoint brings the settings, the command line changes a few."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown
from mnist_vision.runs.directory import RunDirectory, find_checkpoint
from mnist_vision.runs.settings import check_unchanged, explain_change, find_change, quoted
from mnist_vision.runs.targets import check_targets


class ResumedRun:
    """A run that goes on: what Hydra is to compose, and where.

    Hydra composes `CONFIG_NAME`: the primary configuration with the settings of the checkpoint in
    the place of its groups. So overrides apply to these settings, by the grammar of Hydra.

    Args:
        ckpt_path: The checkpoint.
        overrides: The command line, parsed.
        conf_dir: The folder of the configuration.

    Attributes:
        overrides: The overrides that are left to compose with.
        directory: The run that the checkpoint lies in; None for a file that was copied elsewhere.

    Raises:
        UserError: If the checkpoint cannot be used, or an override asks for another option of a
            group than the run was started with.
    """

    CONFIG_NAME = "resumed"

    def __init__(self, ckpt_path: str, overrides: Sequence[Override], conf_dir: Path) -> None:
        find_checkpoint(ckpt_path)
        # torch takes seconds to import: not for a command line that resumes nothing.
        from mnist_vision.models import find_architecture
        from mnist_vision.training.checkpoints import read_resumable, stored_settings

        checkpoint = read_resumable(ckpt_path)
        find_architecture(checkpoint["architecture"])
        stored = stored_settings(checkpoint, ckpt_path)
        typed = {override.key_or_group for override in overrides}
        check_targets(stored.settings, conf_dir, typed, f"ckpt_path={shown(ckpt_path)}")
        self.directory = _own_directory(ckpt_path, stored.settings)
        self._settings = stored.settings
        groups = {path.name for path in conf_dir.iterdir() if path.is_dir()} - {"hydra"}
        chosen = [each for each in overrides if each.key_or_group in groups and not each.package]
        self.overrides = [
            str(each.input_line)
            for each in overrides
            if each not in chosen or not _repeats(each, stored.choices)
        ]
        if not any(key.startswith("hydra.run") or key == "hydra" for key in typed):
            self.overrides.append(f"hydra.run.dir={quoted(self._choose_directory(checkpoint))}")
        _store(conf_dir, stored.settings, {"logger"} & typed)

    def check(self, config: DictConfig) -> None:
        """Refuse a configuration that differs from the checkpoint's in what cannot change.

        Raises:
            UserError: Naming the setting, the value it was trained with, and the way on.
        """
        check_unchanged(self._settings, config)

    def _choose_directory(self, checkpoint: dict[str, Any]) -> Path:
        if self.directory is not None:
            return self.directory.path
        return Path("outputs", checkpoint["architecture"], f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")


def find_resumed(overrides: Sequence[str], conf_dir: Path) -> ResumedRun | None:
    """The run that a command line asks to go on with, by its `ckpt_path`, however it is written.

    Args:
        overrides: The overrides of the command line.
        conf_dir: The folder of the configuration.
    """
    if not any("ckpt_path" in override for override in overrides):
        return None
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    paths = [each for each in parsed if each.key_or_group == "ckpt_path" and not each.is_delete()]
    if not paths or paths[-1].is_sweep_override() or paths[-1].value() is None:
        return None
    return ResumedRun(str(paths[-1].value()), parsed, conf_dir)


def _own_directory(ckpt_path: str, settings: Mapping[str, Any]) -> RunDirectory | None:
    """The directory of the run that a checkpoint is of; None if it lies in another run's."""
    from mnist_vision.training.checkpoints import read_checkpoint, stored_settings

    directory = RunDirectory.of_checkpoint(ckpt_path)
    if directory is None:
        return None
    last = directory.last_checkpoint
    try:
        held = stored_settings(read_checkpoint(last), last).settings
    except UserError:  # it is gone or damaged, and so says nothing
        return directory
    return directory if find_change(held, settings) is None else None


def _repeats(override: Override, choices: Mapping[str, Any]) -> bool:
    """Whether an override repeats the choice of the run; raises if it names another one.

    Loggers may change: theirs is never a repetition.
    """
    group = override.key_or_group
    if group == "logger":
        return False
    if override.is_sweep_override() or override.is_delete():
        raise UserError(explain_change(str(override.input_line), f"with {group}=NAME"))
    value, stored = override.value(), choices.get(group)
    if value != stored and (value or stored):
        trained = f"with {group}={stored or 'null'}"
        raise UserError(explain_change(str(override.input_line), trained))
    return True


def _store(conf_dir: Path, settings: Mapping[str, Any], composed_groups: set[str]) -> None:
    """Register the primary configuration of a resumed run with Hydra.

    Args:
        conf_dir: The folder of the configuration.
        settings: Those of the checkpoint.
        composed_groups: Groups that the command line composes anew.
    """
    primary = OmegaConf.load(conf_dir / "train.yaml")
    defaults = [
        entry
        for entry in primary.defaults
        if isinstance(entry, str)
        or any(str(key).startswith("override hydra") or key in composed_groups for key in entry)
    ]
    kept = {key: value for key, value in settings.items() if key not in composed_groups}
    node = OmegaConf.to_container(OmegaConf.merge(primary, kept), resolve=False)
    assert isinstance(node, dict)
    node["defaults"] = OmegaConf.to_container(OmegaConf.create(defaults))
    ConfigStore.instance().store(ResumedRun.CONFIG_NAME, node)
