"""Where a network looked in its worst mistakes: `attributions.npz`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import write_atomically
from mnist_vision.data.constants import IMAGE_SIZE, NUM_CLASSES
from mnist_vision.runs.arrays import read_arrays
from mnist_vision.runs.predictions import Digits

Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MistakeAttributions:
    """Attributions of wrong predictions, the most confident one first.

    Args:
        indices: `[M]` int64: numbers of the digits in the test set.
        predictions: `[M]` int64 in 0..9: the wrong classes, which the attributions explain.
        targets: `[M]` int64 in 0..9.
        pictures: `[M, 28, 28]` uint8.
        grad_cam: `[M, 28, 28]` float32 in [0, 1].
        integrated_gradients: `[M, 28, 28]` float32: above 0 where a pixel speaks for the
            prediction, below 0 where it speaks against it.
    """

    indices: Digits
    predictions: Digits
    targets: Digits
    pictures: NDArray[np.uint8]
    grad_cam: Maps
    integrated_gradients: Maps

    def write(self, path: Path) -> None:
        """Write the arrays atomically."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        with write_atomically(path) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> "MistakeAttributions":
        """Read and check the arrays.

        Raises:
            UserError: If the file is damaged, or has other shapes, types or values.
        """
        names = [field.name for field in fields(cls)]
        arrays = dict(zip(names, read_arrays(path, names), strict=True))
        _check(path.name, arrays)
        return cls(**arrays)


def _check(name: str, arrays: dict[str, NDArray[Any]]) -> None:
    num = arrays["indices"].size
    maps = (num, IMAGE_SIZE, IMAGE_SIZE)
    last = NUM_CLASSES - 1
    expected: list[tuple[str, type, tuple[int, ...], float, float]] = [
        ("indices", np.int64, (num,), 0, np.inf),
        ("predictions", np.int64, (num,), 0, last),
        ("targets", np.int64, (num,), 0, last),
        ("pictures", np.uint8, maps, 0, 255),
        ("grad_cam", np.float32, maps, 0, 1),
        ("integrated_gradients", np.float32, maps, -np.inf, np.inf),
    ]
    for key, dtype, shape, lowest, highest in expected:
        array = arrays[key]
        if array.dtype != dtype or array.shape != shape:
            raise UserError(
                f"{name}: {key} is {array.dtype} of shape {list(array.shape)}; must be "
                f"{np.dtype(dtype).name} of shape {list(shape)}"
            )
        if not (np.isfinite(array) & (array >= lowest) & (array <= highest)).all():
            raise UserError(f"{name}: {key} holds values outside {lowest:g} to {highest:g}")
