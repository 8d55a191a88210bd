"""Lay out scenes: choose digits, scales and places."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mnist_vision.common.checks import Share, checked
from mnist_vision.common.errors import FieldError, UserError
from mnist_vision.data.boxes import box_iou, ink_boxes
from mnist_vision.data.constants import IMAGE_SIZE
from mnist_vision.data.datamodule import DigitDataset, to_unit_range
from mnist_vision.data.scenes.drawing import resample
from mnist_vision.data.scenes.scene_dataset import SceneDataset, SceneLayouts

# MNIST's digits fit into a square of 20 pixels. The mean area of their ink boxes is 304.
DIGIT_SIZE = 20
DIGIT_AREA = 300

# Places tried for a digit. More would fit slightly more often, and always cost time.
NUM_PLACES = 16
# Give up if a smaller share of the random layouts fits: the few that fit would be biased.
LEAST_SHARE_THAT_FITS = 0.05
NUM_LAYOUTS_TO_JUDGE_BY = 200

# Pixels drawn at once while scenes are laid out, so that they stay in the processor's cache.
NUM_PIXELS_AT_ONCE = 2**18


# Sides of canvases in pixels; the smallest and the largest number and scale of digits.
CanvasSizes = Annotated[
    Sequence[Annotated[int, Field(ge=32, le=512, multiple_of=4)]],
    Field(min_length=1, max_length=100),
]
NumDigits = Annotated[
    Sequence[Annotated[int, Field(ge=1, le=20)]], Field(min_length=2, max_length=2)
]
Scales = Annotated[
    Sequence[Annotated[float, Field(ge=0.25, le=4)]], Field(min_length=2, max_length=2)
]


class SceneRules:
    """The rules that scenes are laid out by.

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

    @checked
    def __init__(
        self, canvas_sizes: CanvasSizes, num_digits: NumDigits, scales: Scales, max_overlap: Share
    ) -> None:
        for name, pair in {"num_digits": num_digits, "scales": scales}.items():
            if pair[0] > pair[1]:
                raise FieldError(name, pair, "must be [low, high] with low at most high")
        self.canvas_sizes = canvas_sizes
        self.num_digits = num_digits
        self.scales = scales
        self.max_overlap = max_overlap
        self._check_room()

    def _check_room(self) -> None:
        """Raise if it is certain, from the sizes of MNIST's digits, that no scene fits."""
        canvas_size, most, (low, high) = min(self.canvas_sizes), self.num_digits[1], self.scales
        if high * DIGIT_SIZE > canvas_size:
            raise UserError(
                f"data.scales={self.scales}: a digit of scale {high:g} has a side of "
                f"{high * DIGIT_SIZE:g} px, the smallest of data.canvas_sizes={self.canvas_sizes} "
                f"{canvas_size} px; lower data.scales or raise data.canvas_sizes"
            )
        # Two boxes share at most `shared` times the sum of their areas. So `count` boxes cover at
        # least the sum of their areas minus the shared areas of all pairs.
        shared = self.max_overlap / (1 + self.max_overlap)
        covered = max(count * (1 - (count - 1) * shared) for count in range(1, most + 1))
        # Some scene has digits of at least the mean area, but all may have the lowest scale.
        if covered * DIGIT_AREA * low**2 > canvas_size**2:
            raise UserError(self._too_crowded(canvas_size, most, "have no room"))

    def lay_out(self, digits: DigitDataset, num_scenes: int, seed: int) -> SceneDataset:
        """Lay out scenes at random.

        All digits are used equally often, to within one. A scene whose digits do not fit is laid
        out again, with other scales and places of the same digits, so that digits of crowded scenes
        are somewhat smaller. The limits on overlap and canvas hold to the pixel, as the boxes are
        those of the drawn digits.

        Args:
            digits: The digits of the scenes.
            num_scenes: Number of scenes.
            seed: Seed of all random choices.

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
                num_tried = num_fitting = 0  # the scenes that are left are the harder ones

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


def _drawn_boxes(digits: DigitDataset, indices: Tensor, scales: Tensor) -> Tensor:
    """Find the ink box of each digit when it is drawn, relative to the corner of its tile.

    Indices and scales are `[R, M]`, boxes `[R, M, 4]`; boxes are zeros where an index is -1.
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
        ink_boxes(resample(to_unit_range(digits.images[part, 0]), scale, corners, size)[:, None])
        for part, scale in parts
    ]
    boxes = torch.zeros(*indices.shape, 4)
    boxes[is_digit] = torch.cat(found) - margin
    return boxes


def _place(
    boxes: Tensor, canvas_sizes: Tensor, max_overlap: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Try to place the digits of each scene, one after the other, in the first free place.

    Boxes, `[R, M, 4]`, are relative to the corners of their tiles. The result is the corners,
    `[R, M, 2]`, and whether all digits of a scene have a place, `[R]` bool.
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
    """Shuffle `number` indices below `num_digits`, each used equally often or once more."""
    num_rounds = math.ceil(number / num_digits)
    rounds = [torch.randperm(num_digits, generator=generator) for _ in range(num_rounds)]
    return torch.cat(rounds)[:number]
