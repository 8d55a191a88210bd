"""A corruption, as a function of images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# `[N, 28, 28]`, bright digits on black.
Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

SIDE = 28  # pixels


@dataclass(frozen=True)
class Corruption:
    """A corruption of digits.

    Args:
        name: Its name in records and tables, in snake case.
        function: Maps images to corrupted images of the same shape, all at once; its random numbers
            come from the generator alone.
        source: Where the idea and its parameters come from.
        is_in_mean: Whether it is one of the 15 of MNIST-C, over which the mean is taken.
    """

    name: str
    function: Callable[[Images, np.random.Generator], Images]
    source: str
    is_in_mean: bool = True


def to_floats(images: Images) -> Floats:
    """Convert bytes to values in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def to_bytes(values: Floats) -> Images:
    """Convert values to bytes: 0 is black and 1 is white; values outside [0, 1] are clipped."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
