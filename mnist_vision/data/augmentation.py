"""Small random distortions of digits, drawn per image and applied to a whole batch at once."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_vision.errors import check_real

# Nodes along each side of the grid whose random displacements bend an image: five spans of 5.6
# pixels, the width of a few strokes.
NUM_NODES = 6


class RandomDistortion:
    """Rotates, scales, shifts and bends each image by its own random amounts.

    torchvision's transforms draw one set of amounts for a whole batch; this one draws a set per
    image, on the device of the images, and resamples all of them bilinearly in one call.

    Args:
        degrees: Largest rotation either way, in degrees, 0 to 180.
        shift: Largest translation along each axis, in pixels, 0 to 14.
        scale: Largest relative change of size: the factor lies between 1 / (1 + scale) and
            1 + scale, uniformly in its logarithm; 0 to 1.
        elastic: Strength of a smooth random bending: the standard deviation, in pixels, of the
            normally distributed displacements of the nodes of a coarse grid, between which
            displacements are interpolated; 0 to 5.

    Raises:
        FieldError: If an amount is outside its range.

    Source: for the bending, P. Simard, D. Steinkraus and J. Platt, "Best practices for
    convolutional neural networks applied to visual document analysis", 2003.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        shift: float = 0.0,
        scale: float = 0.0,
        elastic: float = 0.0,
    ) -> None:
        check_real("degrees", degrees, 0, 180)
        check_real("shift", shift, 0, 14)
        check_real("scale", scale, 0, 1)
        check_real("elastic", elastic, 0, 5)
        self.degrees = degrees
        self.shift = shift
        self.scale = scale
        self.elastic = elastic

    def __call__(self, images: Tensor) -> Tensor:
        """Distorts a batch.

        Args:
            images: `Tensor[B, C, H, W]` float.

        Returns:
            A tensor of the same shape; what comes from outside an image is 0.
        """
        if not (self.degrees or self.shift or self.scale or self.elastic):
            return images
        grid = self._affine_grid(images)
        if self.elastic:
            grid = grid + self._bending(images)
        return F.grid_sample(images, grid, align_corners=False)

    def _affine_grid(self, images: Tensor) -> Tensor:
        """Where each output pixel comes from, `[B, H, W, 2]`; the image spans [-1, 1]."""
        height, width = images.shape[-2:]
        # One draw for all four amounts: rows are angle, log scale, horizontal and vertical shift.
        amounts = torch.rand(4, len(images), device=images.device, dtype=images.dtype) * 2 - 1
        angle = amounts[0] * math.radians(self.degrees)
        zoom = torch.exp(amounts[1] * -math.log1p(self.scale))
        # affine_grid wants the inverse map, from output to input positions, both in [-1, 1] (half
        # a side is 1): undo the shift, then the rotation and the change of size.
        right = amounts[2] * (2 * self.shift / width)
        down = amounts[3] * (2 * self.shift / height)
        cosine, sine = zoom * angle.cos(), zoom * angle.sin()
        rows = [cosine, sine, -cosine * right - sine * down]
        rows += [-sine, cosine, sine * right - cosine * down]
        inverse = torch.stack(rows, dim=1).view(-1, 2, 3)
        return F.affine_grid(inverse, list(images.shape), align_corners=False)

    def _bending(self, images: Tensor) -> Tensor:
        """Displacements of where output pixels come from, `[B, H, W, 2]`, in half sides."""
        size = (len(images), 2, NUM_NODES, NUM_NODES)
        nodes = torch.randn(size, device=images.device, dtype=images.dtype) * self.elastic
        field = F.interpolate(nodes, images.shape[-2:], mode="bicubic", align_corners=True)
        height, width = images.shape[-2:]
        return torch.stack([field[:, 0] * (2 / width), field[:, 1] * (2 / height)], dim=-1)
