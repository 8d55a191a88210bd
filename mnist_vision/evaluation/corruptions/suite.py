"""The suites of corruptions, by name."""

from pathlib import Path

import numpy as np

from mnist_vision.evaluation.corruptions.corruption import Corruption, Images


def _brightness(images: Images, generator: np.random.Generator) -> Images:
    return np.minimum(images.astype(np.int16) + 128, 255).astype(np.uint8)


# Raised when a corruption changes, as figures before and after cannot be compared.
VERSION = 1

SUITES: dict[str, tuple[Corruption, ...]] = {
    "corruptions": (Corruption("brightness", "light", _brightness, "MNIST-C"),)
}


def corrupt(corruption: Corruption, images: Images) -> Images:
    """Corrupt images; the same images always give the same result.

    Args:
        corruption: What to do.
        images: `[N, 28, 28]` uint8.
    """
    seed = list(corruption.name.encode())
    return corruption.function(images, np.random.default_rng(seed))


def load_corrupted(corruption: Corruption, images: Images, cache: Path) -> Images:
    """Corrupt images, or read them from the cache, if they were corrupted before.

    Args:
        corruption: What to do.
        images: `[N, 28, 28]` uint8.
        cache: The folder of the cache; it is made if it is missing.
    """
    return corrupt(corruption, images)
