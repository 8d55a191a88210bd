"""The interface of trained networks: checkpoints and ONNX files."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes that a detector finds in one image, highest score first.

    Args:
        boxes: `[D, 4]` float32: x1, y1, x2, y2 in pixels, x2 and y2 exclusive.
        labels: `[D]` int64 in 0..9.
        scores: `[D]` float32 in [0, 1].
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a network for a batch of images.

    Args:
        probabilities: `[B, 10]` float32, calibrated; each row sums to 1.
        is_missed: `[B]` bool: the network finds no digit, and all probabilities are equal.
        detections: The boxes of each image, from a detector; None from other networks.
        temperature: It has calibrated the probabilities; scores of boxes are as they were.
    """

    probabilities: NDArray[np.float32]
    is_missed: NDArray[np.bool_]
    detections: list[Detections] | None = None
    temperature: float = 1.0


class Network(Protocol):
    """A trained network on one device."""

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        ...

    @property
    def is_for_scenes(self) -> bool:
        """True if the network was trained on images of several digits."""
        ...

    def __call__(self, images: Images) -> Outputs:
        """Classify images `[B, 1, H, W]` float32 in [0, 1]; H and W are 28 unless it is for scenes.

        It may be called from any thread, but not from two at once.
        """
        ...
