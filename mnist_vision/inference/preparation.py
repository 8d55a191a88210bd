"""From the grey pixels of a picture to what networks were trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_vision.data.constants import IMAGE_SIZE
from mnist_vision.inference.digit_image import DIGIT_SIZE, digit_image, scale_digit, sharpen
from mnist_vision.inference.ink import Ink, enlarge, find_ink, ink_of, white_on_black
from mnist_vision.inference.picture_reading import Picture, Pixels
from mnist_vision.inference.separation import Part, Slices, separate, whole

Box = tuple[float, float, float, float]

_EDGE = 8  # pixels of paper around a digit that are looked at with it
# Networks for scenes were trained on canvases of 64 pixels and more: a digit gets this margin.
_LEAST_SCENE = 64
CANVAS_MARGIN = (_LEAST_SCENE - IMAGE_SIZE) // 2
_LARGEST_SCENE = 512
_SCENE_MARGIN = 12


@dataclass(frozen=True, eq=False)
class View:
    """A part of a picture as networks see it.

    Args:
        image: `[H, W]` uint8, white on black; 28x28 for one digit.
        box: The box of its ink in the picture: x1, y1, x2, y2 in pixels, x2 and y2 exclusive.
        origin: Where the upper left corner of `image` lies in the picture, x and y in pixels.
        scale: Pixels of the picture for a pixel of `image`.
    """

    image: Pixels
    box: Box
    origin: tuple[float, float]
    scale: float

    def to_picture(self, box: Sequence[float] | NDArray[np.float32]) -> Box:
        """Convert a box in pixels of `image` to pixels of the picture."""
        (x, y), scale = self.origin, self.scale
        x1, y1, x2, y2 = map(float, box)
        return x + scale * x1, y + scale * y1, x + scale * x2, y + scale * y2


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture as networks see it.

    Args:
        digits: Its digits, line by line from left to right; none if there is no ink.
        scene: All its ink in one view, for a network that reads several digits an image; None if
            one digit is to be read, or there is no ink.
    """

    digits: list[View]
    scene: View | None = None


def prepare(picture: Picture, *, several: bool = False) -> PreparedPicture:
    """Find the digit, or the digits, of a picture.

    Args:
        picture: The picture.
        several: Whether parts of the ink that lie beside each other are digits of their own.
    """
    if is_prepared(picture.pixels):
        return _prepare_whole(picture.pixels, several)
    pixels = white_on_black(picture.pixels)
    if is_prepared(pixels):
        return _prepare_whole(pixels, several)
    # Deep shadows on the border may be taken for the paper. Then no ink is found.
    for each in (pixels, 255 - pixels):
        ink, reduction = enlarge(ink_of(each), picture.reduction)
        mask = find_ink(ink)
        if mask is not None:
            break
    else:
        return PreparedPicture([])
    parts = separate(mask) if several else [whole(mask)]
    digits = [_view_digit(ink, part, reduction) for part in parts]
    scene = _view_scene(ink, whole(mask), digits, reduction) if several else None
    return PreparedPicture(digits, scene)


def is_prepared(pixels: Pixels) -> bool:
    """Test whether a white-on-black picture is 28x28 with a border that is mostly black."""
    if pixels.shape != (IMAGE_SIZE, IMAGE_SIZE):
        return False
    num_border = pixels.size - pixels[1:-1, 1:-1].size
    num_ink = np.count_nonzero(pixels) - np.count_nonzero(pixels[1:-1, 1:-1])
    return bool(num_ink < 0.5 * num_border)


def _prepare_whole(pixels: Pixels, several: bool) -> PreparedPicture:
    """Take an image that is as networks want it; it has one digit, or no ink."""
    if not pixels.any():
        return PreparedPicture([])
    view = View(pixels, _corners(whole(pixels > 0).box, 1), origin=(0, 0), scale=1)
    if not several:
        return PreparedPicture([view])
    scene = View(np.pad(pixels, CANVAS_MARGIN), view.box, (-CANVAS_MARGIN, -CANVAS_MARGIN), scale=1)
    return PreparedPicture([view], scene)


def _view_digit(ink: Ink, part: Part, reduction: float) -> View:
    """Make the view of one digit."""
    sharp = _cut_out(ink, part)
    image, row, column = digit_image(sharp)
    scale = reduction * max(sharp.shape) / DIGIT_SIZE
    x1, y1, x2, y2 = _corners(part.box, reduction)
    return View(image, (x1, y1, x2, y2), (x1 - scale * column, y1 - scale * row), scale)


def _view_scene(ink: Ink, part: Part, digits: list[View], reduction: float) -> View:
    """Make the view of all ink, scaled so that a digit of middle size has MNIST's size."""
    cropped = _cut_out(ink, part)
    scale = float(np.median([digit.scale for digit in digits])) / reduction
    size = max(DIGIT_SIZE, min(round(max(cropped.shape) / scale), _LARGEST_SCENE))
    scaled = scale_digit(cropped, size)
    height, width = (max(_LEAST_SCENE, side + 2 * _SCENE_MARGIN) for side in scaled.shape)
    image = np.zeros((height, width), np.uint8)
    row, column = (height - scaled.shape[0]) // 2, (width - scaled.shape[1]) // 2
    image[row : row + scaled.shape[0], column : column + scaled.shape[1]] = scaled * 255 + 0.5
    scale = reduction * max(cropped.shape) / size
    x1, y1, x2, y2 = _corners(part.box, reduction)
    return View(image, (x1, y1, x2, y2), (x1 - scale * column, y1 - scale * row), scale)


def _cut_out(ink: Ink, part: Part) -> Ink:
    """Cut out the sharpened ink of a part, as large as its box."""
    around = tuple(slice(max(side.start - _EDGE, 0), side.stop + _EDGE) for side in part.box)
    nearby = ink[around]
    inside = tuple(
        slice(side.start - outer.start, side.stop - outer.start)
        for side, outer in zip(part.box, around, strict=True)
    )
    mask = np.zeros(nearby.shape, dtype=bool)
    mask[inside] = part.mask
    cut: Ink = sharpen(nearby, mask)[inside]
    return cut


def _corners(box: Slices, reduction: float) -> Box:
    rows, columns = box
    x1, y1, x2, y2 = (
        float(reduction * side) for side in (columns.start, rows.start, columns.stop, rows.stop)
    )
    return x1, y1, x2, y2
