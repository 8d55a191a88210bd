"""Compare two networks on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_vision.inference.network import Images, Network, Outputs

BATCH_SIZES = (1, 7, 256)
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How far two networks agree.

    Args:
        num_images: Images compared.
        num_other_classes: Comparisons in which the class differs.
        largest_difference: The largest difference of a probability.
    """

    num_images: int
    num_other_classes: int
    largest_difference: float

    @property
    def is_reached(self) -> bool:
        """True if all predictions are equal, and all probabilities within `TOLERANCE`."""
        return self.num_other_classes == 0 and self.largest_difference <= TOLERANCE

    def __str__(self) -> str:
        sizes = f"batches of {', '.join(map(str, BATCH_SIZES[:-1]))} and {BATCH_SIZES[-1]}"
        classes = f"{self.num_other_classes or 'no'} other classes"
        return (
            f"{self.num_images:,} images in {sizes}: {classes}, probabilities within "
            f"{self.largest_difference:.1e}"
        )


def compare(network: Network, reference: Network, batches: Sequence[Images]) -> Parity:
    """Compare a network, which gets the images in batches of each of `BATCH_SIZES`, with another.

    Args:
        network: The network.
        reference: The network that it must equal, which gets the batches as they are.
        batches: Images `[B, 1, H, W]`, each of at most the largest of `BATCH_SIZES`.
    """
    num_other_classes, differences = 0, [0.0]
    for images in batches:
        expected = reference(images)
        for size in BATCH_SIZES:
            for start in range(0, len(images), size):
                found = network(images[start : start + size])
                rows = slice(start, start + size)
                wanted = expected.probabilities[rows]
                num_other_classes += int((classes(found) != classes(expected)[rows]).sum())
                differences.append(float(np.abs(found.probabilities - wanted).max()))
    return Parity(sum(map(len, batches)), num_other_classes, max(differences))


def classes(outputs: Outputs) -> NDArray[np.int64]:
    """The most probable class of each image, `[B]` in 0..9; -1 where the network finds none."""
    return np.where(outputs.is_missed, -1, outputs.probabilities.argmax(axis=1))
