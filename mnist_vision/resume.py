"""Continuing a run: its directory and its settings are found from its checkpoint."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_vision.files import write_atomically
from mnist_vision.settings import quoted

CKPT_PATH = "ckpt_path="
RECORD = Path(".hydra", "overrides.yaml")


def find_run(ckpt_path: str | None) -> Path | None:
    """The run directory that `ckpt_path` lies in (`RUN/checkpoints/NAME.ckpt`), if it is one."""
    if not ckpt_path:
        return None
    candidate = Path(ckpt_path).resolve().parent.parent
    return candidate if (candidate / RECORD).is_file() else None


def earlier_settings(arguments: Sequence[str]) -> list[str]:
    """The settings that the run was started with that `arguments` ask to continue.

    Args:
        arguments: Command line, without the program; `ckpt_path=FILE` may be among them.

    Returns:
        Overrides to put before `arguments`; none if no run is continued.
    """
    if "LOCAL_RANK" in os.environ:  # a process that Lightning started with the full command line
        return []
    paths = [a.removeprefix(CKPT_PATH) for a in arguments if a.startswith(CKPT_PATH)]
    run = find_run(paths[-1]) if paths else None
    if run is None:
        return []
    overrides = map(str, OmegaConf.load(run / RECORD))
    kept = [each for each in overrides if not each.startswith((CKPT_PATH, "sweep.resume="))]
    return [*kept, "hydra.mode=RUN"]  # of a sweep it is this one job that goes on


def keep_environment(config: DictConfig, run: Path) -> None:
    """Adds the settings that a run took from environment variables to its record.

    The variables may be gone, or others, when the run is continued.

    Args:
        config: The run's configuration.
        run: Its directory; one that Hydra did not make has no record, and gets none.
    """
    keys = _keys_from_environment(OmegaConf.to_container(config, resolve=False))
    taken = [f"{key}={quoted(OmegaConf.select(config, key))}" for key in keys]
    if taken and (run / RECORD).is_file():
        record = OmegaConf.create([*OmegaConf.load(run / RECORD), *taken])
        with write_atomically(run / RECORD) as file:
            file.write(OmegaConf.to_yaml(record).encode())


def _keys_from_environment(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _keys_from_environment(child, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, str) and "${oc.env:" in node:
        yield prefix


def register_resolvers() -> None:
    """Registers what `conf/train.yaml` works a run's directory out with."""
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)
    OmegaConf.register_new_resolver("record_dir", _record_dir, replace=True)


def _run_dir(ckpt_path: str | None, new_dir: str) -> str:
    """A resumed run goes on where it was."""
    run = find_run(ckpt_path)
    return new_dir if run is None else str(run)


def _record_dir(ckpt_path: str | None) -> str | None:
    """A resumed run leaves the record of the settings it was started with as it is."""
    return ".hydra" if find_run(ckpt_path) is None else None
