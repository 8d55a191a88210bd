"""Scenes: several digits at random scales and places on a larger black canvas, for a detector."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnist_vision.common.errors import FieldError, UserError, check_list, check_real, check_whole
from mnist_vision.data.augmentation import RandomAffine
from mnist_vision.data.boxes import DigitBoxes, box_iou, ink_boxes
from mnist_vision.data.datamodule import DigitDataset, MNISTDataModule, as_it_is, to_unit_range
from mnist_vision.data.mnist import IMAGE_SIZE

# MNIST's digits were fitted into a square of 20 pixels. The mean area of their ink boxes is 304.
DIGIT_SIZE = 20
DIGIT_AREA = 300

# Places proposed at once for a digit. More would fit slightly more often, and cost time always.
NUM_PLACES = 16
# Below this share of layouts that fit, those that do would be a poor image of what was asked for.
LEAST_SHARE_THAT_FITS = 0.05
NUM_LAYOUTS_TO_JUDGE_BY = 200

# Pixels drawn at once while scenes are laid out; the results stay in the processor's cache.
NUM_PIXELS_AT_ONCE = 2**18


class SceneLayouts(NamedTuple):
    """Which digits a batch of scenes shows and where, padded to the same number a scene.

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
    """Scenes as digits and layouts, fetched a whole batch at a time, drawn later.

    An item is `tiles`, `Tensor[B, M, 1, 28, 28]` uint8, black where there is no digit, and their
    layouts; a single scene comes without `B`.

    Args:
        digits: The digits that the scenes are made of.
        indices: `Tensor[N, M]` int64: which of them a scene shows; -1 where there is no digit.
        layouts: Of all N scenes.
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
        """Fetches a batch in a few gathers; torch's DataLoader prefers this method."""
        return self[torch.tensor(indices)]

    def subset(self, indices: Tensor) -> "SceneDataset":
        """The scenes at `indices`, `Tensor[K]` int64."""
        layouts = SceneLayouts(*(values[indices] for values in self.layouts))
        return SceneDataset(self.digits, self.indices[indices], layouts)

    def by_canvas_size(self) -> "SceneDataset":
        """The same scenes, small canvases first: a batch of them needs no larger frame."""
        return self.subset(self.layouts.canvas_sizes.argsort(stable=True))


class SceneBatches(Dataset[SceneBatch]):
    """Scenes in batches of one canvas size each; an item is a whole batch.

    A mixed batch is framed as large as its largest canvas, and a network computes on the frame:
    with canvases of 64, 96 and 128 px that makes an epoch 1.6 times as long. Batches as items keep
    the loader and its sampler torch's own, which Lightning can distribute. The price: the batches
    come in another order each epoch, but the same scenes stay together.

    Args:
        scenes: To be divided; each is in one batch.
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


@dataclass(frozen=True)
class SceneRules:
    """What scenes look like, and how they are laid out.

    Args:
        canvas_sizes: Sides of canvases in pixels, multiples of 4 from 32 to 512; each scene draws
            one of them.
        num_digits: Fewest and most digits a scene, 1 to 20.
        scales: Smallest and largest scale of a digit, its tile's side over 28 px, 0.25 to 4; drawn
            uniformly in its logarithm.
        max_overlap: Largest intersection over union of the ink boxes of two digits, 0 to 1.

    Raises:
        FieldError: If a setting is outside its range.
        UserError: If no canvas has room for what is asked.
    """

    canvas_sizes: Sequence[int]
    num_digits: Sequence[int]
    scales: Sequence[float]
    max_overlap: float

    def __post_init__(self) -> None:
        check_list("canvas_sizes", self.canvas_sizes, 1, 100, "sizes")
        for size in self.canvas_sizes:
            check_whole("canvas_sizes", size, 32, 512)
            if size % 4:
                raise FieldError("canvas_sizes", size, "a multiple of 4")
        _check_pair("num_digits", self.num_digits, lambda name, n: check_whole(name, n, 1, 20))
        _check_pair("scales", self.scales, lambda name, scale: check_real(name, scale, 0.25, 4))
        check_real("max_overlap", self.max_overlap, 0, 1)
        self._check_room()

    def _check_room(self) -> None:
        """Raises where it is certain, from the sizes of MNIST's digits, that scenes cannot be."""
        canvas_size, most, (low, high) = min(self.canvas_sizes), self.num_digits[1], self.scales
        if high * DIGIT_SIZE > canvas_size:
            raise UserError(
                f"data.scales={self.scales}: a digit of scale {high:g} has a side of "
                f"{high * DIGIT_SIZE:g} px, the smallest of data.canvas_sizes={self.canvas_sizes} "
                f"{canvas_size} px; lower data.scales or raise data.canvas_sizes"
            )
        # The intersection of two boxes is at most `shared` of the sum of their areas; so `count`
        # boxes cover at least their areas without what each shares with each of the others.
        shared = self.max_overlap / (1 + self.max_overlap)
        covered = max(count * (1 - (count - 1) * shared) for count in range(1, most + 1))
        # Some scene has digits of the mean area or more, but all may be drawn at the lowest scale.
        if covered * DIGIT_AREA * low**2 > canvas_size**2:
            raise UserError(self._too_crowded(canvas_size, most, "have no room"))

    def lay_out(self, digits: DigitDataset, num_scenes: int, seed: int) -> SceneDataset:
        """Draws scenes.

        Digits are dealt like cards: each is used equally often, give or take one. A scene whose
        digits do not fit is laid out anew, with other scales and places for the same digits: in
        crowded scenes digits are somewhat smaller. The limits on overlap and canvas hold to the
        pixel, as the boxes are those of the digits drawn.

        Args:
            digits: What the scenes show.
            num_scenes: How many to draw.
            seed: Of all that is drawn.

        Raises:
            UserError: If fewer than one layout in 20 fits.
        """
        generator = torch.Generator().manual_seed(seed)
        fewest, most = self.num_digits
        choices = torch.randint(len(self.canvas_sizes), (num_scenes,), generator=generator)
        canvas_sizes = torch.tensor(list(self.canvas_sizes))[choices]
        numbers = torch.randint(fewest, most + 1, (num_scenes,), generator=generator)
        is_digit = torch.arange(most) < numbers[:, None]
        indices = torch.full((num_scenes, most), -1)
        indices[is_digit] = _deal(len(digits), int(numbers.sum()), generator)
        scales, corners = torch.ones(num_scenes, most), torch.zeros(num_scenes, most, 2)

        waiting = torch.arange(num_scenes)
        num_tried = num_fitting = 0
        while len(waiting):
            new_scales = self._draw_scales(is_digit[waiting], generator)
            boxes = _drawn_boxes(digits, indices[waiting], new_scales)
            new_corners, fits = _place(boxes, canvas_sizes[waiting], self.max_overlap, generator)
            scales[waiting[fits]], corners[waiting[fits]] = new_scales[fits], new_corners[fits]
            num_tried, num_fitting = num_tried + len(fits), num_fitting + int(fits.sum())
            waiting = waiting[~fits]
            if num_tried >= NUM_LAYOUTS_TO_JUDGE_BY:
                if num_fitting < LEAST_SHARE_THAT_FITS * num_tried:
                    size, number = int(canvas_sizes[waiting].min()), int(numbers[waiting].max())
                    raise UserError(self._too_crowded(size, number, "found no room in many tries"))
                num_tried = num_fitting = 0  # those still waiting are harder than those laid out

        labels = digits.targets[indices.clamp(min=0)].where(is_digit, -1)
        layouts = SceneLayouts(labels, scales, corners, canvas_sizes)
        return SceneDataset(digits, indices, layouts)

    def _draw_scales(self, is_digit: Tensor, generator: torch.Generator) -> Tensor:
        low, high = self.scales
        scales = low * (high / low) ** torch.rand(is_digit.shape, generator=generator)
        return scales.where(is_digit, 1.0)

    def _too_crowded(self, canvas_size: int, number: int, problem: str) -> str:
        return (
            f"{number} digits {problem} on a canvas of {canvas_size} px with "
            f"data.num_digits={self.num_digits}, data.scales={self.scales}, "
            f"data.max_overlap={self.max_overlap}; lower data.num_digits or data.scales, or raise "
            "data.canvas_sizes or data.max_overlap"
        )


class MNISTScenesDataModule(MNISTDataModule):
    """Scenes of several digits, as batches of images and of their digits' boxes and labels.

    `images` are float32 `[B, 1, S, S]` in [0, 1], `targets` `DigitBoxes` with room for the most
    digits that a scene may have. Training scenes show training digits only, validation scenes
    validation digits, test scenes test digits. Layouts are drawn in `setup`; tiles travel to the
    device as bytes and are drawn there, a whole batch at a time. S is the largest canvas of the
    batch; what lies outside a scene's own canvas is black. In training, a batch has canvases of one
    size.

    Augmentation distorts each digit's tile before it is laid on the canvas. The boxes are those of
    the distorted digits, which may overlap a little more than `max_overlap`, and are cut off at the
    edge of the canvas.

    Args:
        root: See `MNISTDataModule`, as for the other arguments that both take.
        canvas_sizes: See `SceneRules`, as for the next three.
        num_digits: Fewest and most digits a scene.
        scales: Smallest and largest scale of a digit.
        max_overlap: Largest intersection over union of two digits of a scene.
        num_train_scenes: Scenes an epoch, at least 1; the same ones in each.
        num_val_scenes: Validation scenes, at least 1.
        num_test_scenes: Test scenes, at least 1.
        download: Whether the network may be used to get MNIST.
        batch_size: Training scenes a step and device, at least 1.
        eval_batch_size: Scenes a step in validation and test, at least 1.
        val_size: How many of the 60,000 digits are for validation scenes.
        split_seed: Seed of the split, and of all layouts.
        augmentation: Distortion of the digits of training scenes, on the device; None for none.

    Raises:
        FieldError: If a setting is outside its range.
        UserError: If no canvas has room for what is asked.
    """

    gives_scenes = True

    def __init__(
        self,
        root: str,
        *,
        canvas_sizes: Sequence[int] = (64, 96, 128),
        num_digits: Sequence[int] = (1, 5),
        scales: Sequence[float] = (0.6, 1.4),
        max_overlap: float = 0.1,
        num_train_scenes: int = 20_000,
        num_val_scenes: int = 1000,
        num_test_scenes: int = 2000,
        download: bool = True,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        val_size: int = 5000,
        split_seed: int = 0,
        augmentation: RandomAffine | None,
    ) -> None:
        super().__init__(
            root,
            download=download,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            val_size=val_size,
            split_seed=split_seed,
            augmentation=augmentation,
        )
        self.rules = SceneRules(canvas_sizes, num_digits, scales, max_overlap)
        check_whole("num_train_scenes", num_train_scenes, 1)
        check_whole("num_val_scenes", num_val_scenes, 1)
        check_whole("num_test_scenes", num_test_scenes, 1)
        self.num_train_scenes = num_train_scenes
        self.num_val_scenes = num_val_scenes
        self.num_test_scenes = num_test_scenes

    def setup(self, stage: str) -> None:
        """Lays out the scenes that `stage` needs, of the digits that the parent gives it.

        Validation and test sets have small canvases first. What training accuracy is measured on
        is as many training scenes as there are for validation, or all, if there are fewer.

        Raises:
            UserError: If digits do not fit on a canvas, as far as trying can tell.
        """
        super().setup(stage)
        # A seed for each set, so that none depends on which others were laid out before it.
        train_seed, val_seed, test_seed = (3 * self.split_seed + part for part in range(3))
        # What the parent knows as sets of digits become sets of scenes, for its loaders.
        if stage == "fit":
            train = self.rules.lay_out(self.train_set, self.num_train_scenes, train_seed)
            val = self.rules.lay_out(self.val_set, self.num_val_scenes, val_seed)
            sample = train.subset(torch.arange(min(len(val), len(train))))
            self.train_set = train
            self.val_set = val.by_canvas_size()
            self.train_sample = sample.by_canvas_size()
        elif stage == "test":
            test = self.rules.lay_out(self.test_set, self.num_test_scenes, test_seed)
            self.test_set = test.by_canvas_size()

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of training scenes, in a new order each epoch."""
        batches = SceneBatches(self.train_set, self.batch_size)
        return DataLoader(batches, batch_size=None, shuffle=True, collate_fn=as_it_is)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, DigitBoxes]:
        """Draws the scenes on the device, training scenes with augmented digits."""
        tiles, layouts = batch
        flat = (tiles.flatten(0, 1), layouts.labels.flatten())
        images, _ = super().on_after_batch_transfer(flat, dataloader_idx)
        return draw_scenes(images.view(tiles.shape), layouts)


def draw_scenes(tiles: Tensor, layouts: SceneLayouts) -> tuple[Tensor, DigitBoxes]:
    """Draws a batch of scenes; where digits overlap, the brightest pixel shows.

    Args:
        tiles: `Tensor[B, M, 1, 28, 28]` float in [0, 1], black where there is no digit.
        layouts: Of these B scenes.

    Returns:
        Images `Tensor[B, 1, S, S]` float32 in [0, 1], where S is the largest canvas, and the box of
        the ink of each digit, as if it were alone; no digit where a tile shows no ink.
    """
    size = int(layouts.canvas_sizes.max())
    is_inside = torch.arange(size, device=tiles.device) < layouts.canvas_sizes[:, None]
    canvas = (is_inside[:, :, None] & is_inside[:, None]).float()
    images, boxes = torch.zeros_like(canvas), []
    # One digit of every scene at a time: the digits of a scene side by side would need M frames.
    for digit in range(tiles.shape[1]):
        scales, corners = layouts.scales[:, digit], layouts.corners[:, digit]
        drawn = _resample(tiles[:, digit, 0], scales, corners, size) * canvas
        images = torch.maximum(images, drawn)
        boxes.append(ink_boxes(drawn[:, None]))
    found = torch.stack(boxes, dim=1)
    labels = layouts.labels.where(found[..., 2] > 0, -1)
    return images[:, None].clamp(max=1), DigitBoxes(found, labels)


def _resample(tiles: Tensor, scales: Tensor, corners: Tensor, size: int) -> Tensor:
    """Lays each tile on a black square of its own, bilinearly.

    Bilinear weights factor into a row and a column part, so that this is two matrix products.

    Args:
        tiles: `Tensor[N, 28, 28]` float.
        scales: `Tensor[N]`.
        corners: `Tensor[N, 2]`: x, y in pixels.
        size: Side of the squares, in pixels.

    Returns:
        `Tensor[N, size, size]`.
    """
    centres = torch.arange(size, device=tiles.device) + 0.5
    # [N, 2, size]: for x and y, where each pixel of the square lies on the tile.
    positions = (centres - corners[:, :, None]) / scales[:, None, None] - 0.5
    steps = torch.arange(IMAGE_SIZE, device=tiles.device)
    weights = (1 - (positions[..., None] - steps).abs()).clamp(min=0)
    columns, rows = weights.unbind(dim=1)
    return rows @ tiles @ columns.mT


def _drawn_boxes(digits: DigitDataset, indices: Tensor, scales: Tensor) -> Tensor:
    """The ink box that each digit has when drawn, relative to the corner of its tile.

    Args:
        digits: What is drawn.
        indices: `Tensor[R, M]` int64; -1 where there is no digit.
        scales: `Tensor[R, M]`.

    Returns:
        `Tensor[R, M, 4]` float32; zeros where there is no digit.
    """
    largest = float(scales.max())
    margin = math.ceil(largest)  # resampling smears ink over half a tile's pixel
    size = math.ceil(IMAGE_SIZE * largest) + 2 * margin
    corners = torch.full((1, 2), float(margin))
    is_digit = indices >= 0
    num_at_once = max(1, NUM_PIXELS_AT_ONCE // size**2)
    parts = zip(
        indices[is_digit].split(num_at_once), scales[is_digit].split(num_at_once), strict=True
    )
    found = [
        ink_boxes(_resample(to_unit_range(digits.images[part, 0]), scale, corners, size)[:, None])
        for part, scale in parts
    ]
    boxes = torch.zeros(*indices.shape, 4)
    boxes[is_digit] = torch.cat(found) - margin
    return boxes


def _place(
    boxes: Tensor, canvas_sizes: Tensor, max_overlap: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Tries to place the digits of each scene, one after the other, each in the first place free.

    Args:
        boxes: `Tensor[R, M, 4]`: ink boxes relative to the corners of their tiles.
        canvas_sizes: `Tensor[R]`.
        max_overlap: Largest intersection over union.
        generator: Draws the places.

    Returns:
        The corners of the tiles, `Tensor[R, M, 2]`, and whether all digits of a scene were placed,
        `Tensor[R]` bool.
    """
    rows = torch.arange(len(boxes))
    fits_all = torch.ones(len(boxes), dtype=torch.bool)
    corners, placed = torch.zeros(*boxes.shape[:2], 2), torch.zeros_like(boxes)
    for digit in range(boxes.shape[1]):
        box = boxes[:, digit, None]
        room = canvas_sizes[:, None, None] - (box[..., 2:] - box[..., :2])
        draws = torch.rand(len(boxes), NUM_PLACES, 2, generator=generator)
        shifts = (draws * (room + 1)).floor() - box[..., :2]
        candidates = box + shifts.repeat(1, 1, 2)
        overlaps = box_iou(candidates, placed[:, :digit])
        fits = (overlaps <= max_overlap).all(dim=2) & (room >= 0).all(dim=2)
        first = fits.to(torch.uint8).argmax(dim=1)  # the first of several largest values
        fits_all &= fits.any(dim=1)
        corners[:, digit], placed[:, digit] = shifts[rows, first], candidates[rows, first]
    return corners, fits_all


def _deal(num_digits: int, number: int, generator: torch.Generator) -> Tensor:
    """`Tensor[number]` of indices below `num_digits`, shuffled, each equally often or once more."""
    num_rounds = math.ceil(number / num_digits)
    rounds = [torch.randperm(num_digits, generator=generator) for _ in range(num_rounds)]
    return torch.cat(rounds)[:number]


def _check_pair(field: str, pair: Any, check_bound: Callable[[str, object], None]) -> None:
    """Raises unless `pair` is [low, high] with bounds that pass a check."""
    check_list(field, pair, 2, 2, "numbers: [low, high]")
    for bound in pair:
        check_bound(field, bound)
    if pair[0] > pair[1]:
        raise FieldError(field, pair, "a list [low, high] with low at most high")
