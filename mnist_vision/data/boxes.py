"""Boxes of digits, found in the pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Resampling leaves fainter pixels at the edge of a stroke.
INK_THRESHOLD = 0.1
SMALLEST_AREA = 1e-9  # avoids a division by 0 for empty boxes


class DigitBoxes(NamedTuple):
    """The boxes and labels of the digits of a batch, padded to the same number an image.

    Args:
        boxes: `Tensor[B, M, 4]` float32: x1, y1, x2, y2 in pixels, x2 and y2 exclusive; zeros
            where there is no digit.
        labels: `Tensor[B, M]` int64 in 0..9; -1 where there is no digit.
    """

    boxes: Tensor
    labels: Tensor

    @property
    def is_digit(self) -> Tensor:
        """`Tensor[B, M]` bool: False for padding."""
        return self.labels >= 0


def ink_boxes(images: Tensor) -> Tensor:
    """Find the tight box of the ink in each image.

    Pixels brighter than `INK_THRESHOLD` are ink. A box is at least one pixel wide and high.

    Args:
        images: `Tensor[N, 1, H, W]` float in [0, 1].

    Returns:
        `Tensor[N, 4]` float32: x1, y1, x2, y2 in pixels, x2 and y2 exclusive; zeros for an image
        without ink.
    """
    # Maximum first, then the comparison: on a CPU `any` takes longer than `amax`.
    x1, x2 = _extent(images[:, 0].amax(dim=1) > INK_THRESHOLD)
    y1, y2 = _extent(images[:, 0].amax(dim=2) > INK_THRESHOLD)
    return torch.stack([x1, y1, x2, y2], dim=1).float()


def label_ink(images: Tensor, targets: Tensor) -> DigitBoxes:
    """Box the ink of each image as one digit; an image without ink has no digit.

    Args:
        images: `Tensor[B, 1, H, W]` float in [0, 1].
        targets: `Tensor[B]` int64 in 0..9.
    """
    boxes = ink_boxes(images)
    labels = targets.where(boxes[:, 2] > 0, -1)
    return DigitBoxes(boxes[:, None], labels[:, None])


def locate(images: Tensor, targets: Tensor | DigitBoxes) -> DigitBoxes:
    """Get the digits of a batch: those of scenes as they are, single digits by their ink.

    Args:
        images: `Tensor[B, 1, H, W]` float in [0, 1].
        targets: `Tensor[B]` int64 in 0..9, or the digits of scenes.
    """
    return label_ink(images, targets) if isinstance(targets, Tensor) else targets


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the intersection over union of each box with each other box.

    torchvision's handles x and y as pairs, which takes a CPU more than twice as long.

    Args:
        boxes: `Tensor[..., N, 4]`.
        others: `Tensor[..., M, 4]`.

    Returns:
        `Tensor[..., N, M]` in [0, 1]; 0 where both boxes are empty.
    """
    return overlap(boxes[..., :, None, :].unbind(dim=-1), others[..., None, :, :].unbind(dim=-1))


def overlap(box: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Compute the intersection over union of boxes that are given as four tensors.

    Args:
        box: x1, y1, x2 and y2, of any shape.
        other: The same of other boxes, broadcast with `box`.

    Returns:
        A tensor of the common shape, in [0, 1]; 0 where both boxes are empty.
    """
    x1, y1, x2, y2 = box
    other_x1, other_y1, other_x2, other_y2 = other
    width = (torch.minimum(x2, other_x2) - torch.maximum(x1, other_x1)).clamp_(min=0)
    height = (torch.minimum(y2, other_y2) - torch.maximum(y1, other_y1)).clamp_(min=0)
    shared = width.mul_(height)
    areas = (x2 - x1) * (y2 - y1) + (other_x2 - other_x1) * (other_y2 - other_y1)
    return shared / areas.sub_(shared).clamp_(min=SMALLEST_AREA)


def _extent(is_hit: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first true value and the end of the last in each row of `[N, L]`; zeros if none."""
    hits = is_hit.to(torch.uint8)  # argmax gives the first of several largest values
    first = hits.argmax(dim=1)
    end = hits.shape[1] - hits.flip(1).argmax(dim=1)
    is_blank = ~is_hit.any(dim=1)
    return first.masked_fill(is_blank, 0), end.masked_fill(is_blank, 0)
