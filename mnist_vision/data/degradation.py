"""Random faults of pictures: clutter, lines, spots, inverted regions, blur, light and noise.

Unlike an augmentation, a degradation does not move the ink: the boxes of digits are found before
it. No step uses a function or a parameter of `evaluation.corruptions`, which measures what they
teach.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mnist_vision.common.checks import Share, checked
from mnist_vision.data.distortion import (
    RandomDistortion,
    chance,
    choose,
    positions,
    smooth_noise,
    uniform,
)


class RandomClutter(RandomDistortion):
    """Put some images on an uneven background, or behind a veil of it.

    Args:
        share: Share of the images that are degraded, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Degrade all images `[N, 1, H, W]`."""
        strength = uniform(images, 0.1, 0.75)
        background = strength * smooth_noise(images, choose(2, 3, 4, 5, 7, 10))
        veiled = images * (1 - strength) + background
        return torch.where(chance(images, 0.5), veiled, torch.maximum(images, background))


class RandomLines(RandomDistortion):
    """Draw three straight lines on some images, some dashed, some joined to a zigzag.

    Args:
        share: Share of the images that are degraded, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Degrade all images `[N, 1, H, W]`."""
        rows, columns = positions(images)
        start = self._points(images)
        for _ in range(3):
            end = self._points(images)
            across, down = end[0] - start[0], end[1] - start[1]
            length = (across**2 + down**2).sqrt().clamp(min=1)
            # Of each pixel: how far along the line it is, and how far from it.
            x, y = columns - start[0], rows - start[1]
            along = (x * across + y * down) / length
            distance = (x * down - y * across).abs() / length
            period = uniform(images, 2, 8)
            is_drawn = chance(images, 0.5) | ((along / period).frac() < 0.5)
            is_line = (distance < uniform(images, 0.4, 1.3)) & (along > 0) & (along < length)
            images = torch.where(is_line & is_drawn, uniform(images, 0.5, 1), images)
            is_joined = chance(images, 0.6)
            start = [
                torch.where(is_joined, old, new)
                for old, new in zip(end, self._points(images), strict=True)
            ]
        return images

    def _points(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        return [uniform(images, 0, width), uniform(images, 0, height)]


class RandomSpots(RandomDistortion):
    """Put bright spots on some images, and take spots of ink from others.

    Args:
        share: Share of the images that are degraded, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Degrade all images `[N, 1, H, W]`."""
        is_spot = smooth_noise(images, choose(7, 9, 12, 14)) > uniform(images, 0.75, 1)
        colour = torch.where(chance(images, 0.5), uniform(images, 0.2, 1), images.new_zeros(()))
        return torch.where(is_spot, colour, images)


class RandomRegions(RandomDistortion):
    """Invert a strip or a rectangle of some images, in any direction, or all outside it.

    Args:
        share: Share of the images that are degraded, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Degrade all images `[N, 1, H, W]`."""
        rows, columns = positions(images)
        height, width = images.shape[-2:]
        x = columns * (2 / width) - 1 - uniform(images, -0.6, 0.6)
        y = rows * (2 / height) - 1 - uniform(images, -0.6, 0.6)
        angle = uniform(images, 0, math.pi)
        u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        is_strip = chance(images, 0.5)
        is_inside = u.abs() < uniform(images, 0.1, 0.8)
        is_inside &= (v.abs() < uniform(images, 0.1, 0.8)) | is_strip
        return torch.where(is_inside ^ chance(images, 0.3), 1 - images, images)


class RandomBlur(RandomDistortion):
    """Blur some images by a Gaussian that is longer in one direction, as when a hand shakes.

    Args:
        share: Share of the images that are degraded, 0 to 1.
        longest: Largest standard deviation along the blur, in pixels, 0.5 to 8.
    """

    @checked
    def __init__(self, share: Share, longest: Annotated[float, Field(ge=0.5, le=8)]) -> None:
        super().__init__(share)
        self.longest = longest

    def distort(self, images: Tensor) -> Tensor:
        """Degrade all images `[N, 1, H, W]`."""
        reach = math.ceil(2 * self.longest)
        offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
        angle = uniform(images, 0, math.pi)
        u = offsets * angle.cos() + offsets[:, None] * angle.sin()
        v = offsets[:, None] * angle.cos() - offsets * angle.sin()
        length, width = uniform(images, 0.3, self.longest), uniform(images, 0.2, 1.2)
        kernels = torch.exp(-((u / length) ** 2 + (v / width) ** 2) / 2)
        kernels = kernels / kernels.sum(dim=(2, 3), keepdim=True)
        # Each image is a channel of one image, as each has a kernel of its own.
        blurred = F.conv2d(images.transpose(0, 1), kernels, padding=reach, groups=len(images))
        return blurred.transpose(0, 1)


class RandomLight(RandomDistortion):
    """Change gamma, brightness and contrast of some images; of some of these, paper and ink.

    Args:
        share: Share of the images that are degraded, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Degrade all images `[N, 1, H, W]`."""
        paper, ink = uniform(images, -0.2, 0.8), uniform(images, 0.2, 1.4)
        ink = torch.where((ink - paper).abs() < 0.3, paper + 0.4, ink)
        gamma = uniform(images, -0.7, 0.7).exp()
        lit = (paper + (ink - paper) * images**gamma).clamp(0, 1)
        return torch.where(chance(images, 0.3), 1 - lit, lit)


class RandomNoise(RandomDistortion):
    """Add Gaussian noise to some images, and replace random pixels of others.

    The noise of some is stronger where the image is brighter, as a sensor's is.

    Args:
        share: Share of the images that are degraded, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Degrade all images `[N, 1, H, W]`."""
        noise = torch.randn_like(images) * uniform(images, 0.05, 0.5)
        brightness = torch.where(chance(images, 0.3), (images + 0.02).sqrt(), images.new_ones(()))
        # Values outside [0, 1] are cut off: many of the replaced pixels are black or white.
        replaced = torch.empty_like(images).uniform_(-0.25, 1.25)
        is_replaced = torch.rand_like(images) < uniform(images, 0, 0.3)
        return torch.where(
            chance(images, 0.4),
            torch.where(is_replaced, replaced, images),
            images + noise * brightness,
        )
