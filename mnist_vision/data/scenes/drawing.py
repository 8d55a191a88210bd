"""Draw scenes: many tiles on many canvases at once."""

import torch
from torch import Tensor

from mnist_vision.data.boxes import DigitBoxes, ink_boxes
from mnist_vision.data.constants import IMAGE_SIZE
from mnist_vision.data.scenes.scene_dataset import SceneLayouts


def draw_scenes(tiles: Tensor, layouts: SceneLayouts) -> tuple[Tensor, DigitBoxes]:
    """Draw a batch of scenes; where digits overlap, the brighter pixel counts.

    Args:
        tiles: `Tensor[B, M, 1, 28, 28]` float in [0, 1], black where there is no digit.
        layouts: The layouts of these B scenes.

    Returns:
        Images `Tensor[B, 1, S, S]` float32 in [0, 1], where S is the largest canvas; and the box of
        the ink of each digit, as if it were alone. A tile without ink is no digit.
    """
    size = int(layouts.canvas_sizes.max())
    is_inside = torch.arange(size, device=tiles.device) < layouts.canvas_sizes[:, None]
    canvas = (is_inside[:, :, None] & is_inside[:, None]).float()
    images, boxes = torch.zeros_like(canvas), []
    # One digit of every scene at a time: all digits at once would need M canvases a scene.
    for digit in range(tiles.shape[1]):
        scales, corners = layouts.scales[:, digit], layouts.corners[:, digit]
        drawn = resample(tiles[:, digit, 0], scales, corners, size) * canvas
        images = torch.maximum(images, drawn)
        boxes.append(ink_boxes(drawn[:, None]))
    found = torch.stack(boxes, dim=1)
    labels = layouts.labels.where(found[..., 2] > 0, -1)
    return images[:, None].clamp(max=1), DigitBoxes(found, labels)


def resample(tiles: Tensor, scales: Tensor, corners: Tensor, size: int) -> Tensor:
    """Resample each tile bilinearly onto a black square.

    Bilinear weights are products of a row and a column weight, so this is two matrix products.

    Args:
        tiles: `Tensor[N, 28, 28]` float.
        scales: `Tensor[N]`: side of each tile over 28 px.
        corners: `Tensor[N, 2]`: x, y of each tile in pixels.
        size: Side of the squares in pixels.
    """
    centres = torch.arange(size, device=tiles.device) + 0.5
    # [N, 2, size]: for x and y, where each pixel of the square lies on the tile.
    positions = (centres - corners[:, :, None]) / scales[:, None, None] - 0.5
    steps = torch.arange(IMAGE_SIZE, device=tiles.device)
    weights = (1 - (positions[..., None] - steps).abs()).clamp(min=0)
    columns, rows = weights.unbind(dim=1)
    return rows @ tiles @ columns.mT
