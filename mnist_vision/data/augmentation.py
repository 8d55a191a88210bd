"""Random distortions of digits, different for each image and applied to a whole batch at once."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mnist_vision.common.checks import Share, checked


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
