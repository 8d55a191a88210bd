"""The interface of trained networks: checkpoints and ONNX files."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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


@dataclass(frozen=True, eq=False)
class Explanations:
    """Where a network looked in each image; see `evaluation.attribution`.

    Args:
        grad_cam: `[B, 28, 28]` float32 in [0, 1].
        integrated_gradients: `[B, 28, 28]` float32, above 0 for the digit, below 0 against it.
    """

    grad_cam: NDArray[np.float32]
    integrated_gradients: NDArray[np.float32]


@runtime_checkable
class ExplainableNetwork(Network, Protocol):
    """A network with gradients."""

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be explained; None if it can."""
        ...

    def explain(self, images: Images, digits: NDArray[np.int64]) -> Explanations:
        """Explain why images `[B, 1, 28, 28]` were read as `digits` `[B]`, 0 to 9."""
        ...

    def grad_cam(self, images: Images, digits: NDArray[np.int64]) -> NDArray[np.float32]:
        """Compute the Grad-CAM of `explain` alone, which is faster: `[B, 28, 28]` in [0, 1]."""
        ...
