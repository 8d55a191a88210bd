"""Augmentation of training images, and random shapes of digits: another hand, another pen."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mnist_vision.common.checks import Share, checked
from mnist_vision.common.errors import FieldError
from mnist_vision.data.distortion import RandomDistortion, chance, choose, smooth_noise, uniform

Step = Callable[[Tensor], Tensor]


class Augmentation:
    """Distort the digits of training images, then degrade the pictures of them.

    Digits are distorted alone, before they are put into a scene. A degradation does not move them:
    a detector learns boxes that are found after the one and before the other.

    Args:
        digits: Steps that distort digits, by name, in their order; None leaves a step out.
        pictures: Steps that degrade pictures, the same.

    Raises:
        FieldError: If a step cannot be called.
    """

    def __init__(
        self,
        digits: Mapping[str, Step | None] | None = None,
        pictures: Mapping[str, Step | None] | None = None,
    ) -> None:
        self._digits = _steps("digits", digits)
        self._pictures = _steps("pictures", pictures)

    def distort_digits(self, images: Tensor) -> Tensor:
        """Distort digits `[N, 1, 28, 28]` in [0, 1]."""
        for step in self._digits:
            images = step(images)
        return images

    def degrade(self, images: Tensor) -> Tensor:
        """Degrade pictures `[B, 1, H, W]` in [0, 1]."""
        for step in self._pictures:
            images = step(images)
        return images


def _steps(group: str, named: Mapping[str, Step | None] | None) -> list[Step]:
    steps = {name: step for name, step in (named or {}).items() if step is not None}
    for name, step in steps.items():
        if not callable(step):
            raise FieldError(f"{group}.{name}", step, "must be a step with a _target_, or null")
    return list(steps.values())


class RandomAffine:
    """Rotate, scale and shift each image at random, about its centre.

    torchvision's transform of the same name distorts all images of a batch alike. This one draws
    amounts for each image, on its device, and resamples the batch bilinearly in one call.

    Args:
        degrees: Largest rotation either way, in degrees, 0 to 180.
        shift: Largest translation along each axis, in pixels, 0 to 14.
        scale: Largest relative change of size: the factor lies between 1 / (1 + scale) and
            1 + scale, uniformly in its logarithm; 0 to 1.

    Raises:
        FieldError: If an amount is outside its range.
    """

    @checked
    def __init__(
        self,
        degrees: Annotated[float, Field(ge=0, le=180)],
        shift: Annotated[float, Field(ge=0, le=14)],
        scale: Share,
    ) -> None:
        self.degrees = degrees
        self.shift = shift
        self.scale = scale

    def __call__(self, images: Tensor) -> Tensor:
        """Distort a batch.

        Args:
            images: `Tensor[B, C, H, W]` float.

        Returns:
            A tensor of the same shape; pixels from outside an image are 0.
        """
        if not (self.degrees or self.shift or self.scale):
            return images
        height, width = images.shape[-2:]
        # One draw for all four amounts: rows are angle, log scale, horizontal and vertical shift.
        amounts = torch.rand(4, len(images), device=images.device, dtype=images.dtype) * 2 - 1
        angle = amounts[0] * math.radians(self.degrees)
        zoom = torch.exp(amounts[1] * -math.log1p(self.scale))
        # affine_grid takes the inverse map, from output to input positions in [-1, 1] (half a side
        # is 1): undo the shift, then the rotation and the change of size.
        right = amounts[2] * (2 * self.shift / width)
        down = amounts[3] * (2 * self.shift / height)
        cosine, sine = zoom * angle.cos(), zoom * angle.sin()
        rows = [cosine, sine, -cosine * right - sine * down]
        rows += [-sine, cosine, sine * right - cosine * down]
        inverse = torch.stack(rows, dim=1).view(-1, 2, 3)
        grid = F.affine_grid(inverse, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)


class RandomElastic(RandomDistortion):
    """Move the pixels of some images by a smooth random field, or each pixel a little by itself.

    Source: P. Simard et al., "Best practices for convolutional neural networks applied to visual
    document analysis", 2003, with bicubic interpolation in the place of Gaussian smoothing.

    Args:
        share: Share of the images that are distorted, 0 to 1.
        amount: Largest standard deviation of the displacement, in pixels, 0 to 5.

    Raises:
        FieldError: If an argument is outside its range.
    """

    @checked
    def __init__(self, share: Share, amount: Annotated[float, Field(ge=0, le=5)]) -> None:
        super().__init__(share)
        self.amount = amount

    def distort(self, images: Tensor) -> Tensor:
        """Distort all images `[N, 1, H, W]`."""
        height, width = images.shape[-2:]
        field = smooth_noise(images, choose(4, 7, 10, 28), channels=2) - 0.5
        # Uniform numbers have a standard deviation of 0.29; half a side of an image is 1.
        amount = uniform(images, 0, self.amount) / 0.29
        moves = torch.stack([field[:, 0] * (2 / width), field[:, 1] * (2 / height)], dim=-1)
        identity = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
        grid = F.affine_grid(identity, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid + amount * moves, align_corners=False)


class RandomStroke(RandomDistortion):
    """Make the strokes of some digits wider or thinner, by up to a pixel on each side.

    Args:
        share: Share of the images that are distorted, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Distort all images `[N, 1, H, W]`."""
        wide, thin = dilate(images), erode(images)
        change = torch.where(chance(images, 0.5), wide - images, 0.8 * (thin - images))
        return images + uniform(images, 0, 1) * change


class RandomOutline(RandomDistortion):
    """Replace some digits by their outline.

    Args:
        share: Share of the images that are distorted, 0 to 1.
    """

    def distort(self, images: Tensor) -> Tensor:
        """Distort all images `[N, 1, H, W]`."""
        inner = torch.where(chance(images, 0.5), erode(images), images)
        return dilate(images) - inner


def dilate(images: Tensor) -> Tensor:
    """Replace each pixel by the brightest of the 3x3 around it."""
    return F.max_pool2d(images, 3, stride=1, padding=1)


def erode(images: Tensor) -> Tensor:
    """Replace each pixel by the darkest of the 3x3 around it."""
    return -dilate(-images)
