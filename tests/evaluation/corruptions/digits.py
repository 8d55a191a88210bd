"""Synthetic digits with strokes, which geometry and pens act on."""

import numpy as np
from scipy import ndimage

from mnist_vision.evaluation.corruptions.corruption import Images
from mnist_vision.evaluation.corruptions.suite import SUITES, corrupt

# Rows and columns of the strokes of seven segments: top, left and right, middle, left and right
# below, bottom.
SEGMENTS = (
    ((5, 8), (9, 19)), ((5, 15), (9, 12)), ((5, 15), (16, 19)), ((12, 15), (9, 19)),
    ((12, 22), (9, 12)), ((12, 22), (16, 19)), ((19, 22), (9, 19)),
)  # fmt: skip
SEGMENTS_OF = (
    "012456",
    "25",
    "02346",
    "02356",
    "1235",
    "01356",
    "013456",
    "025",
    "0123456",
    "012356",
)


def draw_digits(num_images: int) -> Images:
    """Draw the digits 0 to 9 again and again, grey at the edges."""
    ten = np.zeros((10, 28, 28))
    for digit, segments in zip(ten, SEGMENTS_OF, strict=True):
        for segment in segments:
            rows, columns = SEGMENTS[int(segment)]
            digit[slice(*rows), slice(*columns)] = 255
    soft = ndimage.gaussian_filter(ten, 0.5, axes=(1, 2)).astype(np.uint8)
    return soft[np.arange(num_images) % 10]


def fill(value: int, num_images: int = 50) -> Images:
    """Make images of one grey."""
    return np.full((num_images, 28, 28), value, np.uint8)


def draw_bars(num_images: int) -> Images:
    """Draw a vertical bar of 17x3 pixels in the middle of each image."""
    images = fill(0, num_images)
    images[:, 5:22, 12:15] = 255
    return images


def corrupted(name: str, images: Images) -> Images:
    """Corrupt images by the name of the corruption."""
    (corruption,) = (each for each in SUITES["corruptions"] if each.name == name)
    return corrupt(corruption, images)


def centres_of_mass(images: Images) -> np.ndarray:
    """Measure row and column of the centre of mass, `[N, 2]`."""
    return np.array([ndimage.center_of_mass(image) for image in images])


def slopes(images: Images) -> np.ndarray:
    """Measure by how many columns a stroke moves from each row to the next, `[N]`."""
    places = np.arange(28)
    found = []
    for image in images.astype(float):
        rows = image.sum(axis=1) > 300
        columns = (image @ places)[rows] / image.sum(axis=1)[rows]
        found.append(np.polyfit(places[rows], columns, 1)[0])
    return np.array(found)
