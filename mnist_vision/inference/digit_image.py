"""Give the ink of a digit the form of MNIST's digits.

The last two steps are those by which MNIST was made: a digit is scaled so that its longer side has
20 pixels, with antialiasing, and centred by its mass (http://yann.lecun.com/exdb/mnist/).
"""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from mnist_vision.data.constants import IMAGE_SIZE
from mnist_vision.inference.ink import Ink, Mask
from mnist_vision.inference.picture_reading import Pixels

DIGIT_SIZE = 20  # pixels of the longer side of a digit
CENTRE = 14  # the pixel, along each side, that the centre of mass of MNIST's digits lies on

_FULL_INK = 60  # percentile of a digit's ink from which on it is white
_FAINT = 0.1  # of the most ink: less is blur
_LARGE = 4  # strokes are widened in a digit so many times as large
_LEAST_PEN_WIDTH = 1.7  # pixels in a digit of 20; that of 95 % of MNIST's digits is larger


def digit_image(sharp: Ink) -> tuple[Pixels, int, int]:
    """Make the image of a digit from its sharpened ink, `[H, W]`, which fills the box.

    Returns:
        The image, `[28, 28]`, and the row and column that the digit's upper left corner came to.
    """
    large = widen_thin_strokes(scale_digit(sharp, _LARGE * DIGIT_SIZE))
    return centre_by_mass(scale_digit(large, DIGIT_SIZE))


def sharpen(ink: Ink, mask: Mask) -> Ink:
    """Stretch the ink so that the paper is 0 and most of the digit is 1.

    Pixels at the edge of a stroke keep their shares; what is further from the digit is 0.

    Args:
        ink: `[H, W]` in [0, 1]: the digit, and some paper around it.
        mask: `[H, W]` bool: the digit's pixels.
    """
    full = np.percentile(ink[mask], _FULL_INK)
    paper = ink[~mask]
    floor = min(paper.mean() + 2 * paper.std(), 0.5 * full) if paper.size else 0.0
    near = ndimage.binary_dilation(mask, iterations=2)
    stretched: Ink = np.clip((ink - floor) / max(full - floor, 1e-3), 0, 1) * near
    return stretched


def pen_width(mask: Mask) -> float:
    """Estimate the width of the strokes in pixels.

    Across a stroke of width w, the mean distance of its pixels to the next pixel outside is
    w / 4 + 1 / 2.
    """
    distances = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return float(4 * distances[mask].mean() - 2)


def widen_thin_strokes(ink: Ink) -> Ink:
    """Widen strokes that are thinner than those of MNIST's digits.

    Args:
        ink: `[H, W]` in [0, 1]; its longer side is a digit's.

    Returns:
        The same, or `[H + n, W + n]` with wider strokes.
    """
    # A stroke thinner than a pixel is grey all over.
    mask: Mask = ink >= 0.5 * np.percentile(ink[ink > _FAINT * ink.max()], 75)
    grow = (_LEAST_PEN_WIDTH * max(ink.shape) / DIGIT_SIZE - pen_width(mask)) / 2
    if grow <= 0:
        return ink
    mask = np.pad(mask, math.ceil(grow))
    distance = ndimage.distance_transform_edt(~mask)
    widened: Ink = np.clip(grow + 1 - distance, 0, 1).astype(np.float32)
    return widened


def scale_digit(ink: Ink, size: int) -> Ink:
    """Scale ink so that its longer side has `size` pixels, with antialiasing."""
    scale = size / max(ink.shape)
    height, width = (max(1, round(scale * side)) for side in ink.shape)
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    scaled: Ink = np.asarray(Image.fromarray(ink).resize((width, height), method)).clip(0, 1)
    return scaled


def centre_by_mass(digit: Ink) -> tuple[Pixels, int, int]:
    """Put a digit into 28x28 so that its centre of mass is in the middle.

    Args:
        digit: `[H, W]` in [0, 1], at most 28 pixels a side.

    Returns:
        The image, and the row and column that the digit's upper left corner came to.
    """
    row, column = (
        min(max(round(CENTRE - centre), 0), IMAGE_SIZE - side)
        for centre, side in zip(ndimage.center_of_mass(digit), digit.shape, strict=True)
    )
    height, width = digit.shape
    image = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    image[row : row + height, column : column + width] = digit * 255 + 0.5
    return image, row, column
