"""Light: brightness, fog, and dark digits on white."""

import numpy as np

from mnist_vision.evaluation.corruptions.corruption import SIDE, Floats, Images, to_bytes, to_floats

_BRIGHTNESS = 128  # half of white
_FOG_STRENGTH = 3.0  # white of the fog, with 1 the white of the digits
_FOG_DECAY = 1.4**2  # of the height of the noise, from each step to that of half its length
_COARSE_HALVINGS, _FINE_HALVINGS = 5, 3  # of the side of a map, 256 pixels
_MARGIN = 8  # pixels: errors at the border of a patch, which is no torus, reach less far


def brighten(images: Images, generator: np.random.Generator) -> Images:
    """Add half of white to all pixels."""
    return np.minimum(images.astype(np.int16) + _BRIGHTNESS, 255).astype(np.uint8)


def invert(images: Images, generator: np.random.Generator) -> Images:
    """Exchange black and white."""
    return 255 - images


def add_fog(images: Images, generator: np.random.Generator) -> Images:
    """Add three times as much fog as ink, and rescale to the old maximum.

    The fog is a plasma fractal: a map of 256x256 pixels by the diamond-square algorithm (A.
    Fournier, D. Fussell and L. Carpenter, "Computer rendering of stochastic models", 1982,
    https://doi.org/10.1145/358523.358553), stretched to [0, 1], of which the image gets the corner
    that the algorithm starts from.
    """
    values = to_floats(images)
    highest = values.max(axis=(1, 2), keepdims=True)
    fog = _FOG_STRENGTH * _make_fog(len(images), generator)
    return to_bytes((values + fog) * highest / (highest + _FOG_STRENGTH))


def _make_fog(num_images: int, generator: np.random.Generator) -> Floats:
    """Make `[N, 28, 28]` corners of plasma fractals, in about [0, 1].

    The map is computed at each 8th pixel, which gives its lowest and highest value to 2 %; then
    the corner alone at each pixel.
    """
    maps = np.zeros((num_images, 1, 1), np.float32)
    noise = 1.0
    for _ in range(_COARSE_HALVINGS):
        maps = _halve_steps(maps, noise, generator)
        noise /= _FOG_DECAY
    lowest = maps.min(axis=(1, 2), keepdims=True)
    highest = maps.max(axis=(1, 2), keepdims=True)
    step = 2**_FINE_HALVINGS
    places = np.arange(-_MARGIN // step, (SIDE + 2 * _MARGIN) // step + 1)
    patches = maps[:, places[:, None], places]
    for _ in range(_FINE_HALVINGS):
        patches = _halve_steps(patches, noise, generator)
        noise /= _FOG_DECAY
    inside = slice(_MARGIN, _MARGIN + SIDE)
    fog: Floats = (patches[:, inside, inside] - lowest) / (highest - lowest)
    return fog


def _halve_steps(maps: Floats, noise: float, generator: np.random.Generator) -> Floats:
    """Double the resolution of maps that repeat: one round of the diamond-square algorithm.

    Args:
        maps: `[N, side, side]`.
        noise: Each new point is the mean of four old ones, and uniform noise of up to this height.
        generator: The source of the noise.

    Returns:
        `[N, 2 * side, 2 * side]`.
    """
    num_maps, side, _ = maps.shape
    draws = generator.random((3, num_maps, side, side), dtype=np.float32)
    centre, top, left = noise * (2 * draws - 1)
    below_and_here = maps + np.roll(maps, -1, axis=1)
    here_and_right = maps + np.roll(maps, -1, axis=2)
    centre += (below_and_here + np.roll(below_and_here, -1, axis=2)) / 4
    top += (here_and_right + centre + np.roll(centre, 1, axis=1)) / 4
    left += (below_and_here + centre + np.roll(centre, 1, axis=2)) / 4
    finer = np.empty((num_maps, 2 * side, 2 * side), np.float32)
    finer[:, ::2, ::2], finer[:, ::2, 1::2] = maps, top
    finer[:, 1::2, ::2], finer[:, 1::2, 1::2] = left, centre
    return finer
