"""Scenes of blots, and ways to draw them."""

import torch
from torch.nn import functional as F

from mnist_vision.data.datamodule import to_unit_range
from mnist_vision.data.scenes.drawing import draw_scenes
from mnist_vision.data.scenes.layout import SceneRules

RULES = SceneRules([64, 96, 128], [1, 5], [0.6, 1.4], 0.1)


def blots(num_images, seed=0):
    """Images and targets as MNIST's; each image a speckled rectangle of its own, up to 20 px."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(num_images, 1, 28, 28, dtype=torch.uint8)
    for image in images:
        x, width = torch.randint(4, 12, (2,), generator=generator).tolist()
        size = (20, width)
        image[0, 4:24, x : x + width] = torch.randint(60, 256, size, generator=generator)
    return images, torch.arange(num_images) % 10


def all_of(scene_set):
    return scene_set[torch.arange(len(scene_set))]


def draw(scene_set):
    tiles, layouts = all_of(scene_set)
    return draw_scenes(to_unit_range(tiles), layouts)


def drawn_one_by_one(tiles, layouts):
    """Images and boxes as `draw_scenes` gives them, a digit at a time, by torch's resampling."""
    size = int(layouts.canvas_sizes.max())
    images = torch.zeros(len(tiles), 1, size, size)
    boxes = torch.zeros(*layouts.labels.shape, 4)
    for scene in range(len(tiles)):
        canvas_size = int(layouts.canvas_sizes[scene])
        for digit in range(tiles.shape[1]):
            if layouts.labels[scene, digit] < 0:
                continue
            # Where on the tile, from -1 to 1, each pixel of the canvas lies.
            x, y = (
                (torch.arange(canvas_size) + 0.5 - corner) / layouts.scales[scene, digit] / 14 - 1
                for corner in layouts.corners[scene, digit]
            )
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
            drawn = F.grid_sample(tiles[scene, digit, None], grid[None], align_corners=False)[0, 0]
            part = images[scene, 0, :canvas_size, :canvas_size]
            part.copy_(torch.maximum(part, drawn))
            rows, columns = (drawn > 0.1).nonzero(as_tuple=True)
            ends = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            boxes[scene, digit] = torch.stack(ends)
    return images, boxes


def same(batch, other):
    return torch.equal(batch[0], other[0]) and all(map(torch.equal, batch[1], other[1]))
