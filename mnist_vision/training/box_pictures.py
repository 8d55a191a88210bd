"""Pictures of the boxes that a detector finds."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import draw_bounding_boxes, make_grid

from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.models.detection.metrics import as_dicts

PICTURE_SIDE = 320


def draw_boxes(images: Tensor, digits: DigitBoxes, found: list[dict[str, Tensor]]) -> Tensor:
    """Draw a grid of images with the true boxes (green) and the found ones (red), labelled.

    Args:
        images: `Tensor[B, 1, H, W]` float in [0, 1].
        digits: The true digits.
        found: The detections of each image.

    Returns:
        `Tensor[3, H, W]` uint8.
    """
    true = as_dicts(digits)
    pictures = [_draw(*each) for each in zip(images.cpu(), true, found, strict=True)]
    grid: Tensor = make_grid(torch.stack(pictures), nrow=4, pad_value=128)
    return grid


def _draw(image: Tensor, true: dict[str, Tensor], found: dict[str, Tensor]) -> Tensor:
    """Draw the boxes of an image; `[3, PICTURE_SIDE, PICTURE_SIDE]` uint8."""
    height, width = image.shape[-2:]
    zoom = torch.tensor([PICTURE_SIDE / width, PICTURE_SIDE / height]).repeat(2)
    picture = F.interpolate(image[None], [PICTURE_SIDE] * 2).mul(255).byte()[0].expand(3, -1, -1)
    true_names = [f"{int(label)}" for label in true["labels"]]
    found_names = [
        f"{int(label)} {float(score):.0%}"
        for label, score in zip(found["labels"], found["scores"], strict=True)
    ]
    # The true label stands left of its box, the found one right of its box.
    styles: list[tuple[Any, ...]] = [
        (true["boxes"], true_names, "lime", 0, -14),
        (found["boxes"], found_names, "red", 2, 2),
    ]
    for boxes, names, colour, side, offset in styles:
        if len(boxes):
            zoomed = boxes.cpu() * zoom
            picture = draw_bounding_boxes(picture, zoomed, colors=colour, width=2)
            corners = zoomed[:, [side, 1]] + torch.tensor([offset, -2])
            corners = corners.clamp(min=0, max=PICTURE_SIDE - 1).repeat(1, 2)
            # Boxes of no size: only their labels show.
            picture = draw_bounding_boxes(
                picture, corners, names, colour, width=0, label_colors=colour
            )
    return picture
