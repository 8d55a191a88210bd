"""A corruption, as a function of images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# `[N, 28, 28]`, bright digits on black.
Images = NDArray[np.uint8]

Kind = Literal["noise", "blur", "geometry", "light", "clutter", "pen"]


@dataclass(frozen=True)
class Corruption:
    """A corruption of digits.

    Args:
        name: Its name in records and tables, in snake case.
        kind: What it changes.
        function: Maps images to corrupted images of the same shape, all at once; its random numbers
            come from the generator alone.
        source: Where the idea and its parameters come from.
        is_in_mean: Whether it is one of the 15 of MNIST-C, over which the mean is taken.
    """

    name: str
    kind: Kind
    function: Callable[[Images, np.random.Generator], Images]
    source: str
    is_in_mean: bool = True
