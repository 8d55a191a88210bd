"""Measure the data path: images per second against torchvision's dataset and transforms."""

from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

from mnist_vision.benchmarks.harness import Row, load_data, medians, seconds, training_batches
from mnist_vision.data.constants import PIXEL_MEAN, PIXEL_STD


def measure_data_path(config: DictConfig) -> list[Row]:
    """Measure one pass over the training images.

    Both sides deliver normalised float32 batches of the same size in shuffled order.
    """
    datamodule = load_data(config)
    normalise = transforms.Normalize((PIXEL_MEAN,), (PIXEL_STD,))
    dataset = MNIST(
        Path(config.data.root).expanduser(),
        transform=transforms.Compose([transforms.ToTensor(), normalise]),
    )

    def ours() -> None:
        for images, _ in training_batches(datamodule, torch.device("cpu")):
            (images - PIXEL_MEAN) / PIXEL_STD

    def theirs() -> None:
        for _ in DataLoader(dataset, datamodule.batch_size, shuffle=True):
            pass

    times = medians([partial(seconds, ours), partial(seconds, theirs)], config.repeats)
    our_speed, their_speed = len(datamodule.train_set) / times[0], len(dataset) / times[1]
    ratio = our_speed / their_speed
    verdict = f"{ratio:.0f} times as fast"
    return [Row("data path", our_speed, their_speed, "images/s", ratio, verdict)]
