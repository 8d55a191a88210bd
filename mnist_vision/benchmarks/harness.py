"""Tools of the benchmarks: a row of the table, timing, the device, and training batches."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from mnist_vision.common.accelerators import is_cpu
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
    """Measure the wall-clock time of one call of `step`, until a GPU has done its work too."""
    synchronize()
    started = time.perf_counter()
    step()
    synchronize()
    return time.perf_counter() - started


def synchronize() -> None:
    """Wait until the GPU, if there is one, has done all its work."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def medians(measures: Sequence[Callable[[], float]], repeats: int) -> list[float]:
    """Take each measure `repeats` times and return the median of each.

    The measures alternate, so that a slow minute of the machine affects all of them.
    """
    rounds = [[measure() for measure in measures] for _ in range(repeats)]
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def choose_device(config: DictConfig) -> torch.device:
    """Choose the device that the setting `accelerator` names."""
    gpu = None if is_cpu(config.accelerator) else torch.accelerator.current_accelerator()
    return gpu or torch.device("cpu")


def describe_device(config: DictConfig) -> str:
    """Name the GPU that is measured, or "cpu"."""
    device = choose_device(config)
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type


def load_data(config: DictConfig) -> MNISTDataModule:
    """Make the data module without augmentation and load the training images."""
    datamodule: MNISTDataModule = instantiate(config.data, augmentation=None)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


def training_batches(datamodule: MNISTDataModule, device: torch.device) -> Iterator[Batch]:
    """Iterate over one epoch of shuffled training batches on `device`, as networks get them."""
    for images, targets in datamodule.train_dataloader():
        yield datamodule.prepare_batch((images.to(device), targets.to(device)))
