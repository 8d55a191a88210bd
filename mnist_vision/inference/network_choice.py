"""Choose the networks that a command uses."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.errors import FieldError
from mnist_vision.runs.finding import best_runs

_OUTPUTS = Path("outputs")


def choose_networks(config: DictConfig) -> list[str]:
    """List the files that `ckpt_path` names or, if it is null, the checkpoints of the best runs.

    Returns:
        Files; by default one of each architecture under outputs/, the best one first.

    Raises:
        UserError: If `ckpt_path` is no path or list of paths, or null while there is no run.
    """
    if config.ckpt_path is not None:
        return as_list(config, "ckpt_path")
    return [str(run.best_checkpoint) for run in best_runs(_OUTPUTS).values()]


def as_list(config: DictConfig, key: str) -> list[str]:
    """Get a setting that is a path or a list of paths.

    Raises:
        FieldError: If it is neither.
    """
    settings: Any = OmegaConf.to_container(config, resolve=True)
    value = settings[key]
    paths = value if isinstance(value, list) else [value]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise FieldError(key, value, f"must be a path, or a list of paths: {key}=[A,B]")
    return paths
