"""Synthetic photographs of MNIST's digits, as a person takes them of a digit on paper.

The skeleton of a digit is drawn again with a pen on paper, under uneven light, and saved as a JPEG.
Networks never see such pictures when they are trained, so that they measure the preparation.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import remove_small_holes, remove_small_objects, skeletonize

from mnist_vision.data.download import ensure_mnist
from mnist_vision.data.mnist import Split, load_split

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FINE = 8  # pixels of the skeleton's grid for a pixel of MNIST
# Shares of a digit's brightest level that may divide ink from paper, best first.
LEVELS = (0.5, 0.62, 0.75, 0.38, 0.25)
NUM_FINAL = 200
# Reflectance of inks: red, green, blue.
INKS = {
    "black": (0.09, 0.09, 0.11),
    "blue": (0.10, 0.14, 0.42),
    "pencil": (0.36, 0.36, 0.38),
}
SIDES = (200, 900)  # pixels
ASPECTS = (1.0, 4 / 3, 3 / 2, 16 / 9)


@dataclass(frozen=True)
class Shot:
    """How one photograph is taken. Lengths are fractions of the picture's short side.

    Args:
        width: Pixels.
        height: Pixels.
        size: The longer side of the digit's skeleton.
        angle: Degrees, counterclockwise.
        place: x and y of the digit in the room that it has, in [0, 1]; 0.5 is the centre.
        pen: Width of the stroke, at most: a pen that would close a loop is replaced by a finer one.
        ink: A key of `INKS`.
        density: Share of the paper's light that the densest ink takes away.
        paper: Reflectance of the paper: red, green, blue.
        darkest: The light at the darkest place, where the brightest has 1.
        exposure: Grey level of white paper at the brightest place, in [0, 1].
        blur: Standard deviation of the blur.
        noise: Standard deviation of the sensor's noise, in grey levels in [0, 1].
        quality: Of the JPEG.
    """

    width: int
    height: int
    size: float
    angle: float
    place: tuple[float, float]
    pen: float
    ink: str
    density: float
    paper: tuple[float, float, float]
    darkest: float
    exposure: float
    blur: float
    noise: float
    quality: int

    @property
    def side(self) -> int:
        """The short side in pixels."""
        return min(self.width, self.height)


def draw_shot(rng: np.random.Generator) -> Shot:
    """Draw the settings of a photograph."""
    aspect = rng.choice(ASPECTS)
    short = round(np.exp(rng.uniform(np.log(SIDES[0]), np.log(SIDES[1] / aspect))))
    long = min(round(short * aspect), SIDES[1])
    is_upright = rng.random() < 0.5
    white = rng.uniform(0.86, 0.98)
    warmth, tint = rng.uniform(-0.02, 0.05), rng.uniform(-0.01, 0.01)
    return Shot(
        width=short if is_upright else long,
        height=long if is_upright else short,
        size=rng.uniform(0.40, 0.75),
        angle=rng.uniform(-15, 15),
        place=(rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)),
        pen=rng.uniform(0.02, 0.08),
        ink=str(rng.choice(list(INKS))),
        density=rng.uniform(0.8, 1),
        paper=(white, white + tint - warmth / 2, white - warmth),
        darkest=rng.uniform(0.5, 0.95),
        exposure=rng.uniform(0.7, 1),
        blur=rng.uniform(0.001, 0.004),
        noise=rng.uniform(0.005, 0.025),
        quality=int(rng.integers(60, 91)),
    )


def photographs(images: NDArray[np.uint8], seed: int) -> Iterator[bytes]:
    """Photograph digits, one after the other.

    Args:
        images: `[N, 28, 28]` uint8, white on black.
        seed: A photograph depends on it, on its place in the sequence, and on its digit.

    Yields:
        The bytes of a JPEG for each digit.
    """
    for index, image in enumerate(images):
        rng = np.random.default_rng([seed, index])
        yield photograph(image, draw_shot(rng), rng)


def development_set(num_images: int) -> list[tuple[bytes, int]]:
    """Photograph digits of the training split: choices are made on them.

    Returns:
        JPEGs and what they show.
    """
    return _photograph_split("train", num_images, seed=1)


def final_set() -> list[tuple[bytes, int]]:
    """Photograph 200 digits of the test split, which are looked at once, when all is chosen.

    Returns:
        JPEGs and what they show.
    """
    return _photograph_split("test", NUM_FINAL, seed=2)


def _photograph_split(split: Split, num_images: int, seed: int) -> list[tuple[bytes, int]]:
    root = "~/.cache/mnist_vision"
    ensure_mnist(root)
    images, labels = load_split(root, split)
    chosen = np.random.default_rng(seed).permutation(len(images))[:num_images]
    pictures = photographs(images[chosen, 0].numpy(), seed)
    return list(zip(pictures, labels[chosen].tolist(), strict=True))


def photograph(image: NDArray[np.uint8], shot: Shot, rng: np.random.Generator) -> bytes:
    """Photograph one digit `[28, 28]`; return a JPEG. `rng` gives paper, light and noise."""
    shape = (shot.height, shot.width)
    grain = _grain(shape, rng)
    paper = np.asarray(shot.paper, np.float32) * (1 + 0.02 * grain[..., None])
    ink = draw(skeleton(image), shot) * _density(shape, grain, shot, rng)
    scene = paper + (np.asarray(INKS[shot.ink], np.float32) - paper) * ink[..., None]
    scene *= shot.exposure * _light(shape, shot.darkest, rng)[..., None]
    scene = ndimage.gaussian_filter(scene, (shot.blur * shot.side, shot.blur * shot.side, 0))
    # Cameras smooth their noise, and leave some of it in the colours.
    noise = rng.standard_normal((*shape, 1), np.float32)
    noise = noise + 0.5 * rng.standard_normal((*shape, 3), np.float32)
    noise = ndimage.gaussian_filter(noise, (0.5, 0.5, 0))
    scene += shot.noise * noise / noise.std()
    levels = (scene.clip(0, 1) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=shot.quality)
    return file.getvalue()


def skeleton(image: NDArray[np.uint8]) -> Mask:
    """Thin a digit `[28, 28]` to lines one pixel wide, on a grid `FINE` times as fine.

    Of several grey levels it takes the one that keeps the most loops open without losing or
    breaking strokes.
    """
    grey = image.astype(np.float32)
    large = ndimage.zoom(grey, FINE, order=3, mode="grid-constant", grid_mode=True)
    large = ndimage.gaussian_filter(large, FINE / 4) / grey.max()
    masks = {level: _tidy(large > level) for level in LEVELS}
    all_ink = masks[min(LEVELS)]
    kept = [
        mask
        for mask in masks.values()
        if mask.any() and ndimage.distance_transform_edt(~mask)[all_ink].max() < 2.5 * FINE
    ]
    num_parts = min(int(label(mask).max()) for mask in kept)
    mask = max((mask for mask in kept if label(mask).max() == num_parts), key=_num_loops)
    lines = skeletonize(mask)
    # A branch that does not leave the stroke is of its outline's making.
    stroke_radius = np.median(ndimage.distance_transform_edt(mask)[lines])
    return _pruned(lines, round(1.5 * stroke_radius))


def _tidy(mask: Mask) -> Mask:
    """Remove specks of less than 15 % of the ink, and fill holes of less than a pixel of MNIST."""
    mask = remove_small_objects(mask, max_size=0.15 * mask.sum(), connectivity=2)
    return remove_small_holes(mask, max_size=FINE**2)


def _num_loops(mask: Mask) -> int:
    return int(label(~np.pad(mask, 1), connectivity=1).max()) - 1


def _pruned(lines: Mask, length: int) -> Mask:
    """Remove side branches of at most `length` pixels; ends of strokes keep theirs."""
    short = lines.copy()
    for _ in range(length):
        short &= ~_ends(short)
    if not short.any():
        return lines
    ends = _ends(short)
    room = (lines & ~short) | ends
    return short | ndimage.binary_dilation(ends, np.ones((3, 3)), iterations=length, mask=room)


def _ends(lines: Mask) -> Mask:
    """Find the pixels of lines that have one neighbour."""
    count = ndimage.convolve(lines.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant")
    return lines & (count == 2)


def draw(lines: Mask, shot: Shot) -> Floats:
    """Draw lines with a round pen; return the share of ink in each pixel of the photograph."""
    shape = np.array([shot.height, shot.width])
    lines = np.pad(lines, 4 * FINE)  # room for the pen
    distance = ndimage.distance_transform_edt(~lines)
    points = np.stack(np.nonzero(lines))
    scale = shot.size * shot.side / max(np.ptp(points, axis=1).max(), 1)
    radius = _loops_open(distance, shot.pen / 2 * shot.side / scale) * scale
    turn = np.deg2rad(shot.angle)
    forward = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = forward @ points
    low, high = points.min(axis=1) - 1.5 * radius, points.max(axis=1) + 1.5 * radius
    corner = low - (shape - (high - low)) * np.array(shot.place[::-1])
    back = np.linalg.inv(forward)
    smooth = ndimage.gaussian_filter(distance, FINE / 8)  # without the stairs of the grid
    moved = ndimage.affine_transform(
        smooth, back, back @ corner, tuple(shape), order=1, cval=float(distance.max())
    )
    return (radius - moved * scale + 0.5).clip(0, 1).astype(np.float32)


def _loops_open(distance: NDArray[np.float64], radius: float) -> float:
    """Shrink a pen's radius until the loops of the digit stay open, with some room in them."""
    num_loops = _num_loops(distance == 0)
    while radius > FINE / 2 and _num_loops(distance < 1.4 * radius) != num_loops:
        radius *= 0.9
    return radius


def _grain(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Make the texture of paper, of mean 0 and standard deviation 1: fibres of two directions."""
    grain = np.zeros(shape, np.float32)
    for sigmas in ((0.6, 3.0), (3.0, 0.6), (1.2, 1.2)):
        layer = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigmas)
        grain += layer / layer.std()
    return grain / grain.std()


def _density(shape: tuple[int, int], grain: Floats, shot: Shot, rng: np.random.Generator) -> Floats:
    """Make the density of the ink: it varies along the stroke, and a pencil's with the paper."""
    roughness = 0.12 if shot.ink == "pencil" else 0.03
    density = 1 - 0.15 * _hills(shape, 6, rng) - roughness * np.abs(grain)
    return shot.density * density.clip(0, 1)


def _light(shape: tuple[int, int], darkest: float, rng: np.random.Generator) -> Floats:
    """Make the light in [darkest, 1]: a lamp, the edge of a soft shadow, a vignette."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    lamp, edge = (x * np.cos(turn) + y * np.sin(turn) for turn in rng.uniform(0, 2 * np.pi, size=2))
    edge = edge + 0.3 * (_hills(shape, 4, rng) - 0.5) - rng.uniform(0, 0.8)
    shadow = 1 / (1 + np.exp(-edge / rng.uniform(0.05, 0.2)))
    light = 0.3 * lamp - rng.uniform(0, 0.6) * shadow - rng.uniform(0, 0.2) * (x**2 + y**2)
    light = (light - light.min()) / np.ptp(light)
    return (darkest + (1 - darkest) * light).astype(np.float32)


def _hills(shape: tuple[int, int], num_waves: int, rng: np.random.Generator) -> Floats:
    """Make a smooth random surface in [0, 1] with about `num_waves` hills a side."""
    coarse = rng.random((num_waves, num_waves), np.float32)
    factors = [n / num_waves for n in shape]
    return ndimage.zoom(coarse, factors, order=3, mode="nearest", grid_mode=True).clip(0, 1)
