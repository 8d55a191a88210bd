"""Checkpoints of runs on synthetic digits, and ways to spoil them."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from mnist_vision.training.run import run as run_training
from tests.conftest import composed, put_in_place_of_mnist

SHORT = (
    "trainer=cpu", "data.val_size=100", "trainer.max_epochs=1", "trainer.limit_train_batches=2",
    "trainer.log_every_n_steps=1", "model.widths=[2,3]", "model.hidden=4", "logger=csv",
)  # fmt: skip

MISSING = object()


def without_times(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """Drop the times from the rows of a history."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def changed(checkpoint: Any, path: Sequence[Any], value: object) -> Any:
    """A copy of a checkpoint with another value at a path; `MISSING` deletes it."""
    spoilt = node = copy.deepcopy(checkpoint)
    *parents, last = path
    for key in parents:
        # Keys of callbacks go on with their settings.
        found = [each for each in node if str(each).startswith(str(key))]
        node = node[found[0]] if isinstance(node, dict) and key not in node else node[key]
    if value is MISSING:
        del node[last]
    else:
        node[last] = value
    return spoilt


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Trains a tiny network for an epoch; gives its configuration and `last.ckpt`.

    A call with the same settings gives the same run.
    """
    known: dict[tuple[str, ...], tuple[DictConfig, Path]] = {}

    def go(*settings: str) -> tuple[DictConfig, Path]:
        if settings not in known:
            config = composed(*SHORT, *settings)
            directory = tmp_path_factory.mktemp("run")
            OmegaConf.update(config, "output_dir", str(directory))
            with pytest.MonkeyPatch.context() as monkeypatch:
                put_in_place_of_mnist(monkeypatch, 600, 200)
                run_training(config)
            known[settings] = config, directory / "checkpoints" / "last.ckpt"
        return known[settings]

    return go
