"""RoIAlign as two matrix products.

Bilinear interpolation and the mean over a grid of samples are separable: each is a row factor times
a column factor. Written as matrices, the backward pass is a matrix product too, where torchvision
adds up sample by sample on one thread.

Source: K. He et al., "Mask R-CNN", 2017, https://arxiv.org/abs/1703.06870, as implemented by
`torchvision.ops.roi_align` (`aligned=False`).
"""

import torch
from torch import Tensor

SAMPLES_PER_BIN = 2  # along each axis; what torchvision's Faster R-CNN uses


def roi_align(features: Tensor, boxes: Tensor, size: int, scale: float) -> Tensor:
    """Resample the features inside each box to a square grid.

    Args:
        features: `Tensor[B, C, H, W]` float; fastest with channels last in memory.
        boxes: `Tensor[B, R, 4]` float: the boxes of each image, in its pixels; detached, as
            torchvision gives them no gradient either.
        size: Bins along each side of the grid.
        scale: Feature-map cells per pixel: 1 / stride.

    Returns:
        `Tensor[B, R, size, size, C]`: rows, columns, channels last.
    """
    batch, channels, height, width = features.shape
    x1, y1, x2, y2 = (boxes * scale).unbind(dim=-1)
    rows = _interpolation(y1, y2, size, height).to(features.dtype)
    columns = _interpolation(x1, x2, size, width).to(features.dtype)
    pixels = features.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    stretched = (rows.flatten(1, 2) @ pixels).view(*rows.shape[:3], width, channels)
    return columns[:, :, None] @ stretched


def _interpolation(start: Tensor, end: Tensor, size: int, length: int) -> Tensor:
    """Weights `[B, R, size, length]` of the features along an axis in each bin of each box."""
    num_samples = size * SAMPLES_PER_BIN
    steps = torch.arange(num_samples, dtype=start.dtype, device=start.device)
    shares = (steps + 0.5) / num_samples
    positions = start[..., None] + (end - start).clamp(min=1)[..., None] * shares
    # A sample outside the map counts as 0; within a position of its edge, as the edge.
    is_inside = (positions >= -1) & (positions <= length)
    positions = positions.clamp(0, length - 1)
    distances = positions[..., None] - torch.arange(length, device=start.device)
    weights = (1 - distances.abs()).clamp(min=0) * is_inside[..., None]
    return weights.view(*start.shape, size, SAMPLES_PER_BIN, length).mean(dim=-2)
