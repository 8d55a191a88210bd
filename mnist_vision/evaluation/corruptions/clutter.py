"""Clutter over the digit: stripes, spatter and lines."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_vision.evaluation.corruptions.corruption import SIDE, Floats, Images, to_bytes, to_floats

Reals = NDArray[np.float64]

_STRIPE = 7  # columns
_LIQUID_MEAN, _LIQUID_DEVIATION = 0.65, 0.3
_LIQUID_SIGMA, _EDGE_SIGMA = 1.0, 1.5  # pixels
_LIQUID_THRESHOLD, _MUD_THRESHOLD = 0.65, 0.8
_MUD = 63 / 255  # grey
_LINE_REACH = 2.3  # pixels
_ZIGZAG = 2  # pixels: the height of a tooth, and half of its width
_ZIGZAG_TEETH = 6
_ZIGZAG_START, _ZIGZAG_END = 2, 25  # columns


def add_stripes(images: Images, generator: np.random.Generator) -> Images:
    """Invert the columns 0 to 6 and 21 to 27."""
    striped = images.copy()
    for columns in (slice(_STRIPE), slice(-_STRIPE, None)):
        striped[:, :, columns] = 255 - striped[:, :, columns]
    return striped


def add_spatter(images: Images, generator: np.random.Generator) -> Images:
    """Cover parts of the image with dark grey mud.

    Mud lies where blurred Gaussian noise (mean 0.65, standard deviation 0.3, sigma 1) is above
    0.65. Its edge is blurred with sigma 1.5, and what covers less than 0.8 is removed.
    """
    noise = _LIQUID_DEVIATION * generator.standard_normal(images.shape, dtype=np.float32)
    liquid = _blur(_LIQUID_MEAN + noise, _LIQUID_SIGMA)
    mud = _blur((liquid > _LIQUID_THRESHOLD).astype(np.float32), _EDGE_SIGMA)
    mud[mud < _MUD_THRESHOLD] = 0
    return to_bytes(to_floats(images) * (1 - mud) + _MUD * mud)


def add_dotted_line(images: Images, generator: np.random.Generator) -> Images:
    """Draw a line from the left to the right edge: 2 columns without, 2 with.

    It starts and ends in rows 0 to 26.
    """
    first, last = generator.integers(0, SIDE - 1, (2, len(images))).astype(float)
    lines = _draw_lines(np.zeros_like(first), first, np.full_like(first, SIDE - 1), last)
    has_dot = np.arange(SIDE) // 2 % 2 == 1
    return to_bytes(to_floats(images) + lines * has_dot.astype(np.float32))


def add_zigzag(images: Images, generator: np.random.Generator) -> Images:
    """Draw a zigzag from column 2 to column 25, 2 pixels to either side of a slanted line.

    The line starts in rows 0 to 26, and ends 5 rows above to 4 rows below its start.
    """
    starts = generator.integers(0, SIDE - 1, len(images))
    rises = generator.integers(-5, 5, len(images))
    width = _ZIGZAG_END - _ZIGZAG_START
    angles = np.arctan2(rises, width)
    lengths = np.hypot(rises, width)
    teeth = np.arange(_ZIGZAG_TEETH)
    # Along and across the slanted line: its start, the teeth, and an end as in MNIST-C, between
    # the last tooth and the line.
    along = np.zeros((len(images), _ZIGZAG_TEETH + 2))
    across = np.zeros_like(along)
    along[:, 1:-1] = (2 * teeth + 1) * _ZIGZAG
    across[:, 1:-1] = _ZIGZAG * (-1.0) ** teeth
    along[:, -1] = lengths
    period = 2 * _ZIGZAG
    across[:, -1] = across[:, -2] / (2 * (lengths - period * (lengths // period)))
    cosines, sines = np.cos(angles)[:, None], np.sin(angles)[:, None]
    columns = _ZIGZAG_START + cosines * along - sines * across
    rows = starts[:, None] + sines * along + cosines * across
    values = to_floats(images)
    for end in range(1, _ZIGZAG_TEETH + 2):
        values += _draw_lines(columns[:, end - 1], rows[:, end - 1], columns[:, end], rows[:, end])
    return to_bytes(values)


def _draw_lines(
    first_columns: Reals, first_rows: Reals, last_columns: Reals, last_rows: Reals
) -> Floats:
    """Draw a line for each image, by its ends `[N]` in pixels; the last column is not included.

    A pixel at a vertical distance d of the line has the brightness 1 + log(1 - d / 2.3), and at
    least 0.

    Returns:
        `[N, 28, 28]` in [0, 1].
    """
    pixels = np.arange(SIDE)
    slopes = (last_rows - first_rows) / (last_columns - first_columns)
    centres = first_rows[:, None] + slopes[:, None] * (pixels - first_columns[:, None])
    distances = np.abs(pixels[:, None] - centres[:, None, :]).astype(np.float32)
    np.minimum(distances, 0.99 * _LINE_REACH, out=distances)
    lines: Floats = np.maximum(1 + np.log1p(-distances / np.float32(_LINE_REACH)), 0)
    starts, ends = np.floor(first_columns), np.ceil(last_columns)
    is_on = (pixels >= starts[:, None]) & (pixels < ends[:, None])
    lines *= is_on[:, None, :]
    return lines


def _blur(values: Floats, sigma: float) -> Floats:
    blurred: Floats = ndimage.gaussian_filter(values, sigma, mode="nearest", axes=(1, 2))
    return blurred
