"""Boxes as differences from other boxes, which is what the layers predict.

Source: R. Girshick et al., 2014, https://arxiv.org/abs/1311.2524, appendix C, as implemented by
`torchvision.models.detection._utils.BoxCoder`. That makes tensors of its constants, and a GPU waits
for each of them.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# torchvision's settings.
MOST_STRETCH = math.log(1000 / 16)
SMOOTH_L1_BETA = 1 / 9

# What the shift of a centre and the logarithm of a ratio of sides are multiplied by.
Weights = tuple[float, float]


def encode(boxes: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """Encode boxes as differences from others.

    Args:
        boxes: `Tensor[..., 4]` float32 in pixels.
        references: `Tensor[..., 4]`.
        weights: Of shift and stretch.

    Returns:
        `Tensor[..., 4]`: the shift along x and y in sides of the reference, and the logarithms of
        the ratios of width and height. Not finite where a box or a reference is empty.
    """
    size, reference_size = (each[..., 2:] - each[..., :2] for each in (boxes, references))
    centre, reference_centre = boxes[..., :2] + size / 2, references[..., :2] + reference_size / 2
    shift = (centre - reference_centre) / reference_size * weights[0]
    return torch.cat([shift, (size / reference_size).log() * weights[1]], dim=-1)


def decode(
    codes: Tensor, references: Tensor, weights: Weights, image_size: tuple[int, int]
) -> Tensor:
    """Turn differences back into boxes, and cut these off at the edges of the image.

    Args:
        codes: `Tensor[..., 4]` float32, as from `encode`.
        references: `Tensor[..., 4]` in pixels, broadcast with `codes`.
        weights: Of shift and stretch.
        image_size: Height and width in pixels.

    Returns:
        `Tensor[..., 4]` in pixels; each coordinate is in one piece of memory.
    """
    shift_x, shift_y, stretch_x, stretch_y = codes.unbind(dim=-1)
    x1, y1, x2, y2 = references.unbind(dim=-1)
    height, width = image_size
    x1, x2 = _decode_side(shift_x, stretch_x, x1, x2, weights, width)
    y1, y2 = _decode_side(shift_y, stretch_y, y1, y2, weights, height)
    return torch.stack([x1, y1, x2, y2]).movedim(0, -1)


def box_loss(
    codes: Tensor, boxes: Tensor, references: Tensor, is_positive: Tensor, weights: Weights
) -> Tensor:
    """Sum the smooth L1 loss of predicted differences.

    Args:
        codes: `Tensor[..., 4]`: the predictions.
        boxes: `Tensor[..., 4]`: the boxes that they should give.
        references: `Tensor[..., 4]`: the boxes that they are differences from.
        is_positive: `Tensor[...]` bool: which of them count.
        weights: Of shift and stretch.

    Returns:
        A scalar.
    """
    # Masked, not selected: the number of positives is unknown to the host.
    is_other = ~is_positive[..., None]
    wanted = encode(boxes, references, weights).masked_fill(is_other, 0)
    found = codes.masked_fill(is_other, 0)
    return F.smooth_l1_loss(found, wanted, beta=SMOOTH_L1_BETA, reduction="sum")


def _decode_side(
    shift: Tensor, stretch: Tensor, start: Tensor, end: Tensor, weights: Weights, length: int
) -> tuple[Tensor, Tensor]:
    size = end - start
    centre = shift / weights[0] * size + (start + size / 2)
    half = (stretch / weights[1]).clamp(max=MOST_STRETCH).exp() * size / 2
    return (centre - half).clamp(0, length), (centre + half).clamp(0, length)
