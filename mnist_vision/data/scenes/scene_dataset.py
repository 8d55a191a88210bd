"""Scenes as digits and layouts: what a batch holds before it is drawn."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mnist_vision.data.datamodule import DigitDataset


class SceneLayouts(NamedTuple):
    """The digits of a batch of scenes and their places, padded to the same number a scene.

    Args:
        labels: `Tensor[B, M]` int64 in 0..9; -1 where there is no digit.
        scales: `Tensor[B, M]` float32: side of a digit's tile over 28 px.
        corners: `Tensor[B, M, 2]` float32, whole numbers: x and y of the upper left corner of a
            digit's tile on the canvas, in pixels. A tile, blank at its edges, may lie partly
            outside; its ink does not.
        canvas_sizes: `Tensor[B]` int64: side of a scene's canvas, in pixels.
    """

    labels: Tensor
    scales: Tensor
    corners: Tensor
    canvas_sizes: Tensor


SceneBatch = tuple[Tensor, SceneLayouts]


@dataclass(frozen=True)
class SceneDataset(Dataset[SceneBatch]):
    """Scenes as digits and layouts; a whole batch is one access, and is drawn later.

    An item is `tiles`, `Tensor[B, M, 1, 28, 28]` uint8, black where there is no digit, and their
    layouts; a single scene comes without `B`.

    Args:
        digits: The digits that the scenes are made of.
        indices: `Tensor[N, M]` int64: which of them a scene shows; -1 where there is no digit.
        layouts: The layouts of all N scenes.
    """

    digits: DigitDataset
    indices: Tensor
    layouts: SceneLayouts

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | Tensor) -> SceneBatch:
        indices = self.indices[index]
        tiles = self.digits.images[indices.clamp(min=0)]
        is_digit = (indices >= 0)[..., None, None, None]
        return tiles * is_digit, SceneLayouts(*(values[index] for values in self.layouts))

    def __getitems__(self, indices: list[int]) -> SceneBatch:
        """Get a batch in a few gathers; torch's DataLoader prefers this method."""
        return self[torch.tensor(indices)]

    def subset(self, indices: Tensor) -> "SceneDataset":
        """The scenes at `indices`, `Tensor[K]` int64."""
        layouts = SceneLayouts(*(values[indices] for values in self.layouts))
        return SceneDataset(self.digits, self.indices[indices], layouts)

    def by_canvas_size(self) -> "SceneDataset":
        """Sort the scenes, small canvases first, so that few batches mix sizes."""
        return self.subset(self.layouts.canvas_sizes.argsort(stable=True))


class SceneBatches(Dataset[SceneBatch]):
    """Batches of scenes of one canvas size; an item is a whole batch.

    A mixed batch is as large as its largest canvas: with canvases of 64, 96 and 128 px an epoch
    would take 1.6 times as long. With batches as items the loader and its sampler are torch's,
    which Lightning can distribute. The order of batches changes in each epoch, but the same scenes
    stay together.

    Args:
        scenes: The scenes; each is in one batch.
        batch_size: Scenes a batch; the last batch of a size may have fewer.
    """

    def __init__(self, scenes: SceneDataset, batch_size: int) -> None:
        self.scenes = scenes
        sizes = scenes.layouts.canvas_sizes
        self.batches = [
            batch
            for size in sizes.unique()
            for batch in (sizes == size).nonzero().flatten().split(batch_size)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> SceneBatch:
        return self.scenes[self.batches[index]]
