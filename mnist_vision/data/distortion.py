"""The base of random distortions of images, and the random numbers that they use."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_vision.common.checks import Share, checked


class RandomDistortion(ABC):
    """Distort a random share of the images of a batch, each by amounts of its own.

    All work is done for the whole batch at once, on the device of the images.

    Args:
        share: Share of the images that are distorted, 0 to 1.

    Raises:
        FieldError: If the share is outside its range.
    """

    @checked
    def __init__(self, share: Share) -> None:
        self.share = share

    def __call__(self, images: Tensor) -> Tensor:
        """Distort a batch.

        Args:
            images: `Tensor[B, 1, H, W]` float in [0, 1]; it is not changed.

        Returns:
            A tensor of the same shape and range.
        """
        # The fraction is rounded at random, so that small batches have the right share too.
        num_distorted = math.floor(self.share * len(images) + torch.rand(()).item())
        if num_distorted == 0:
            return images
        rows = torch.randperm(len(images), device=images.device)[:num_distorted]
        return images.index_copy(0, rows, self.distort(images[rows]).clamp_(0, 1))

    @abstractmethod
    def distort(self, images: Tensor) -> Tensor:
        """Distort all images `[N, 1, H, W]`; values outside [0, 1] are cut off afterwards."""


def uniform(images: Tensor, low: float, high: float) -> Tensor:
    """Draw a number for each image: `[N, 1, 1, 1]`, evenly between `low` and `high`."""
    return torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(low, high)


def chance(images: Tensor, probability: float) -> Tensor:
    """Draw for each image whether something happens: `[N, 1, 1, 1]` bool."""
    return uniform(images, 0, 1) < probability


def choose(*options: int) -> int:
    """Choose one of several numbers for the whole batch."""
    return options[int(torch.randint(len(options), ()))]


def smooth_noise(images: Tensor, cells: int, channels: int = 1) -> Tensor:
    """Draw noise that changes smoothly from place to place.

    Args:
        images: `Tensor[N, 1, H, W]`.
        cells: Independent values along 28 pixels.
        channels: Number of fields an image.

    Returns:
        `Tensor[N, channels, H, W]`, roughly in [0, 1].
    """
    size = images.shape[-2:]
    coarse = [max(2, round(cells * side / 28)) for side in size]
    noise = torch.rand(len(images), channels, *coarse, device=images.device)
    return F.interpolate(noise, size=size, mode="bicubic", align_corners=False)


def positions(images: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `[H, 1]` and columns `[1, W]` of the pixels, in pixels from the corner."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device, dtype=images.dtype)
    columns = torch.arange(width, device=images.device, dtype=images.dtype)
    return rows[:, None], columns[None]
