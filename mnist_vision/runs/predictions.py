"""The predictions on the test images: `test_predictions.npz`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import write_atomically
from mnist_vision.data.constants import MISSED, NUM_CLASSES
from mnist_vision.runs.arrays import read_arrays

Digits = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Targets, predictions and scores of the test digits, in their order.

    Args:
        targets: `[N]` int64 in 0..9.
        preds: `[N]` int64 in 0..9, or `MISSED`.
        scores: `[N, 10]` float32.
    """

    targets: Digits
    preds: Digits
    scores: NDArray[np.float32]

    @property
    def num_mistakes(self) -> int:
        """Number of digits whose prediction is wrong."""
        return int((self.preds != self.targets).sum())

    def write(self, path: Path) -> None:
        """Write the three arrays atomically."""
        with write_atomically(path) as file:
            np.savez_compressed(file, targets=self.targets, preds=self.preds, scores=self.scores)

    @classmethod
    def read(cls, path: Path) -> "Predictions":
        """Read and check the three arrays.

        Raises:
            UserError: If the file is missing or damaged, or has other shapes, types or values.
        """
        if not path.exists():
            raise UserError(f"{path.name}: is missing; comparing runs needs the predictions")
        targets, preds, scores = read_arrays(path, ("targets", "preds", "scores"))
        _check(path.name, targets, preds, scores)
        return cls(targets.astype(np.int64), preds.astype(np.int64), scores)


def _check(name: str, targets: Digits, preds: Digits, scores: NDArray[np.float32]) -> None:
    num_images = targets.size
    expected: list[tuple[str, NDArray[Any], tuple[int, ...], type]] = [
        ("targets", targets, (num_images,), np.integer),
        ("preds", preds, (num_images,), np.integer),
        ("scores", scores, (num_images, NUM_CLASSES), np.floating),
    ]
    for key, array, shape, kind in expected:
        if array.shape != shape or not np.issubdtype(array.dtype, kind):
            raise UserError(
                f"{name}: {key} is {array.dtype} of shape {list(array.shape)}; must be "
                "targets [N] and preds [N] int64, scores [N, 10] float32"
            )
    for key, array, lowest in (("targets", targets, 0), ("preds", preds, MISSED)):
        if not ((array >= lowest) & (array < NUM_CLASSES)).all():
            raise UserError(f"{name}: {key} holds values outside {lowest} to {NUM_CLASSES - 1}")
