"""Blur: by frosted glass, and by motion."""

import numpy as np
from scipy import ndimage

from mnist_vision.evaluation.corruptions.corruption import SIDE, Floats, Images, to_bytes, to_floats

_GLASS_SIGMA = 0.7  # pixels
_GLASS_ROUNDS = 2
_MOTION_RADIUS = 10  # pixels
_MOTION_SIGMA = 3.0  # pixels
_MOTION_ANGLE = np.pi / 4  # at most, to either side of the horizontal


def blur_by_glass(images: Images, generator: np.random.Generator) -> Images:
    """Swap neighbouring pixels at random, between two blurs of sigma 0.7.

    In 2 rounds, each pixel is swapped with a chance of one half, with itself or one of the three
    neighbours to its left and above. MNIST-C's code blurs along the columns only; so does this one.
    """
    num_images = len(images)
    # Pixels first: a step of the loop then reads and writes neighbouring bytes.
    pixels = to_bytes(_blur_columns(to_floats(images))).reshape(num_images, -1).T.copy()
    offsets = np.array([0, 0, 0, 0, 0, -1, -SIDE, -SIDE - 1])
    everyone = np.arange(num_images)
    for _ in range(_GLASS_ROUNDS):
        draws = generator.integers(0, 8, (SIDE - 2, SIDE - 2, num_images), dtype=np.uint8)
        for row in range(SIDE - 1, 1, -1):
            for column in range(SIDE - 1, 1, -1):
                here = row * SIDE + column
                there = here + offsets[draws[row - 2, column - 2]]
                moved = pixels[there, everyone]
                pixels[there, everyone] = pixels[here]
                pixels[here] = moved
    shuffled = pixels.T.reshape(images.shape)
    return to_bytes(_blur_columns(to_floats(shuffled)))


def blur_by_motion(images: Images, generator: np.random.Generator) -> Images:
    """Smear each image to its left, at an angle of up to 45 degrees up or down.

    The kernel is that of ImageMagick's motion blur of radius 10 and sigma 3: the right half of a
    Gaussian, at 21 whole pixels along the line; the border's pixels continue outside.
    """
    steps = np.arange(2 * _MOTION_RADIUS + 1)
    weights = np.exp(-(steps**2) / (2 * _MOTION_SIGMA**2))
    weights /= weights.sum()
    angles = generator.uniform(-_MOTION_ANGLE, _MOTION_ANGLE, len(images))
    rows = np.rint(np.outer(steps, np.sin(angles))).astype(int)
    columns = np.rint(np.outer(steps, np.cos(angles))).astype(int)
    margin = len(steps)
    edges = [(0, 0), (margin, margin), (margin, margin)]
    padded = np.pad(to_floats(images), edges, mode="edge")
    blurred = np.zeros(images.shape, np.float32)
    for step, weight in enumerate(weights):
        offsets = np.stack([rows[step], columns[step]], axis=1)
        for row, column in np.unique(offsets, axis=0):
            chosen = np.flatnonzero((offsets == (row, column)).all(axis=1))
            top, left = margin + row, margin + column
            part = padded[chosen, top : top + SIDE, left : left + SIDE]
            blurred[chosen] += np.float32(weight) * part
    return to_bytes(blurred)


def _blur_columns(values: Floats) -> Floats:
    blurred: Floats = ndimage.gaussian_filter1d(values, _GLASS_SIGMA, axis=1, mode="nearest")
    return blurred
