"""Affine maps about the centre of the image, with bilinear interpolation; black comes in."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mnist_vision.evaluation.corruptions.corruption import SIDE, Images, to_bytes, to_floats

Reals = NDArray[np.floating]

_CENTRE = (SIDE - 1) / 2
_SHEAR = 0.4  # radians
_ROTATION = 0.4  # radians
_SCALE = 0.7
_SHIFT = 3  # pixels
_AFFNIST_ROTATION = np.pi / 9  # radians, at most
_AFFNIST_SHEAR = 0.2  # columns for each row, at most
_AFFNIST_SCALE = (0.8, 1.2)  # of rows and columns


def shear(images: Images, generator: np.random.Generator) -> Images:
    """Shear each image by 0.4 radians, to the left or to the right.

    As in MNIST-C, the vertical axis is turned: rows shift by sin 0.4, and the digit becomes taller
    by 1 / cos 0.4 = 1.09.
    """
    angles = _SHEAR * _signs(len(images), generator)
    zeros, ones = np.zeros_like(angles), np.ones_like(angles)
    return _warp(images, _matrices(np.cos(angles), zeros, -np.sin(angles), ones))


def scale(images: Images, generator: np.random.Generator) -> Images:
    """Shrink the digits to 0.7 of their size."""
    return _warp(images, np.tile(np.eye(2) / _SCALE, (len(images), 1, 1)))


def rotate(images: Images, generator: np.random.Generator) -> Images:
    """Rotate each image by 0.4 radians, to either side."""
    return _warp(images, _rotations(_ROTATION * _signs(len(images), generator)))


def translate(images: Images, generator: np.random.Generator) -> Images:
    """Shift each image by 3 pixels along both axes, each to either side."""
    shifts = _SHIFT * _signs((len(images), 2), generator)
    return _warp(images, np.tile(np.eye(2), (len(images), 1, 1)), shifts)


def move_as_affnist(images: Images, generator: np.random.Generator) -> Images:
    """Scale, shear, rotate and shift each image by random amounts.

    Uniform are: the scale of the rows and that of the columns in 0.8 to 1.2, the shear in -0.2 to
    0.2 columns a row, the rotation in -20 to 20 degrees, and the shift over all those that keep the
    ink inside. Ink that has no room is centred. affNIST's images have 40x40 pixels; in the 28x28 of
    these the shifts are smaller.
    """
    num_images = len(images)
    scales = generator.uniform(*_AFFNIST_SCALE, (2, num_images))
    shears = generator.uniform(-_AFFNIST_SHEAR, _AFFNIST_SHEAR, num_images)
    angles = generator.uniform(-_AFFNIST_ROTATION, _AFFNIST_ROTATION, num_images)
    zeros = np.zeros(num_images)
    stretched = _matrices(scales[0], zeros, shears * scales[0], scales[1])
    forward = _rotations(angles) @ stretched
    index, *places = np.nonzero(images)
    moved = np.einsum("nij,jn->ni", forward[index], np.stack(places) - _CENTRE)
    low, high = np.zeros((2, num_images, 2))
    np.minimum.at(low, index, moved)
    np.maximum.at(high, index, moved)
    first, last = -_CENTRE - low, _CENTRE - high
    shifts = first + (last - first) * generator.random((num_images, 2))
    shifts = np.where(first < last, shifts, (first + last) / 2)
    return _warp(images, np.linalg.inv(forward), shifts)


def _signs(shape: int | tuple[int, ...], generator: np.random.Generator) -> Reals:
    return generator.choice([-1.0, 1.0], shape)


def _matrices(a: Reals, b: Reals, c: Reals, d: Reals) -> Reals:
    """Make `[N, 2, 2]` matrices [[a, b], [c, d]] of (row, column)."""
    return np.stack([a, b, c, d], axis=-1).reshape(-1, 2, 2)


def _rotations(angles: Reals) -> Reals:
    return _matrices(np.cos(angles), np.sin(angles), -np.sin(angles), np.cos(angles))


def _warp(images: Images, inverses: Reals, shifts: Reals | None = None) -> Images:
    """Map images about their centre.

    Args:
        images: `[N, 28, 28]`.
        inverses: `[N, 2, 2]`: for each image, the map of (row, column) from new places to old ones.
        shifts: `[N, 2]` rows and columns, after the map; none by default.
    """
    centre = np.full(2, _CENTRE)
    ends = np.broadcast_to(centre, (len(images), 2)) if shifts is None else centre + shifts
    offsets = centre - np.einsum("nij,nj->ni", inverses, ends)
    warped = np.empty(images.shape, np.float32)
    for old, new, inverse, offset in zip(to_floats(images), warped, inverses, offsets, strict=True):
        ndimage.affine_transform(
            old, inverse, offset, output=new, order=1, mode="grid-constant", prefilter=False
        )
    return to_bytes(warped)
