"""Tools of the benchmarks: a row of the table, timing, and training batches."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from mnist_vision.data.datamodule import Batch, MNISTDataModule


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        what: What was measured.
        ours: The figure of this project.
        theirs: The figure of the baseline, if there is one.
        unit: The unit of both.
        ratio: The ratio of the two; `verdict` says in which direction.
        verdict: The comparison in words.
    """

    what: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    verdict: str


def seconds(step: Callable[[], Any]) -> float:
    """Measure the wall-clock time of one call of `step`."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def medians(measures: Sequence[Callable[[], float]], repeats: int) -> list[float]:
    """Take each measure `repeats` times and return the median of each.

    The measures alternate, so that a slow minute of the machine affects all of them.
    """
    rounds = [[measure() for measure in measures] for _ in range(repeats)]
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def load_data(config: DictConfig) -> MNISTDataModule:
    """Make the data module without augmentation and load the training images."""
    datamodule: MNISTDataModule = instantiate(config.data, augmentation=None)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


def training_batches(datamodule: MNISTDataModule) -> Iterator[Batch]:
    """Iterate over one epoch of shuffled training batches, as the networks receive them."""
    for batch in datamodule.train_dataloader():
        yield datamodule.prepare_batch(batch)
