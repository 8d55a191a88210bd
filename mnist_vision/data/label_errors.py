"""The test digits of MNIST whose official label is known to be wrong."""

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray

from mnist_vision.data.constants import LABEL_ERRORS
from mnist_vision.data.mnist import FILES

_BYTES_IN_ONE_DIMENSION = 0x801  # the magic number of IDX


def find_label_errors(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the digits whose label is known to be wrong.

    Args:
        targets: `[N]` int64 in 0..9, in the order of a test set.

    Returns:
        The indices `LABEL_ERRORS` if the targets are the labels of MNIST's 10,000 test images in
        the official order; none for others, such as the digits of scenes.
    """
    _, labels = FILES["test"]
    header = struct.pack(">II", _BYTES_IN_ONE_DIMENSION, len(targets))
    content = header + targets.astype(np.uint8).tobytes()
    is_official = hashlib.md5(content, usedforsecurity=False).hexdigest() == labels.md5
    return np.array(LABEL_ERRORS if is_official else (), np.int64)


def accuracy_without_label_errors(
    targets: NDArray[np.int64], predictions: NDArray[np.int64]
) -> float | None:
    """Compute the accuracy on the digits whose label is not known to be wrong.

    Args:
        targets: `[N]` int64 in 0..9.
        predictions: `[N]` int64 in 0..9, or `MISSED`.

    Returns:
        The accuracy, in [0, 1]; None where no label is known to be wrong.
    """
    errors = find_label_errors(targets)
    if not len(errors):
        return None
    is_right = np.delete(predictions == targets, errors)
    return round(float(is_right.mean()), 6)
