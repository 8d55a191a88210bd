"""Digits drawn by pens on paper, for tests of the preparation."""

import numpy as np
from PIL import Image, ImageDraw

THREE = [(0.1, 0.1), (0.5, 0), (0.9, 0.2), (0.5, 0.47), (0.9, 0.75), (0.5, 1), (0.1, 0.9)]
SEVEN = [(0, 0), (1, 0), (0.4, 1)]
ONE = [(0.5, 0), (0.5, 1)]


def drawn(
    *digits: tuple[list[tuple[float, float]], tuple[int, int, int, int]],
    size: tuple[int, int] = (200, 200),
    pen: int = 12,
    paper: int = 240,
    ink: int = 40,
) -> Image.Image:
    """A grey picture of polylines, each with its box x1, y1, x2, y2 in pixels."""
    image = Image.new("L", size, paper)
    draw = ImageDraw.Draw(image)
    for points, (x1, y1, x2, y2) in digits:
        line = [(x1 + x * (x2 - x1), y1 + y * (y2 - y1)) for x, y in points]
        draw.line(line, fill=ink, width=pen, joint="curve")
    return image


def lit(image: Image.Image, darkest: float = 0.5, noise: float = 4) -> Image.Image:
    """The picture under light that falls off from left to right, with noise."""
    pixels = np.asarray(image, dtype=np.float64) * np.linspace(1, darkest, image.width)
    pixels += np.random.default_rng(0).normal(0, noise, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
