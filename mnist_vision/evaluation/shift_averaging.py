"""Test-time averaging: read each image at several shifts, and average the probabilities."""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_vision.models.classifier import DigitClassifier


class ShiftAveraged(DigitClassifier):
    """A network that reads each image at all shifts of up to some pixels along each axis.

    Its scores are the logarithms of the mean of the calibrated probabilities, so its temperature
    is 1. A shift at which a digit is missed adds equal probabilities to the mean; a digit that is
    missed at all shifts is missed.

    Args:
        network: Reads one digit an image.
        pixels: The largest shift along each axis; 1 gives 9 shifts.
    """

    def __init__(self, network: DigitClassifier, pixels: int) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels

    @property
    def architecture(self) -> str:
        """Name of the architecture of the network."""
        return self.network.architecture

    def forward(self, images: Tensor) -> Tensor:
        """Compute the scores `[B, 10]` of images `[B, 1, 28, 28]` in [0, 1]."""
        scores = torch.stack([self.network(moved) for moved in shifts(images, self.pixels)])
        probabilities = torch.stack([self.network.probabilities(each) for each in scores])
        is_missed = ~scores.isfinite().any(dim=2).any(dim=0)
        return probabilities.mean(dim=0).log().masked_fill(is_missed[:, None], -torch.inf)


def shifts(images: Tensor, pixels: int) -> list[Tensor]:
    """Move images by each whole number of pixels along both axes.

    Args:
        images: `Tensor[B, C, H, W]`.
        pixels: The largest shift along each axis, at least 0.

    Returns:
        (2 * pixels + 1) ** 2 tensors of the same shape; pixels from outside an image are 0.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (pixels, pixels, pixels, pixels))
    starts = range(2 * pixels + 1)
    return [
        padded[..., top : top + height, left : left + width]
        for top, left in product(starts, starts)
    ]
