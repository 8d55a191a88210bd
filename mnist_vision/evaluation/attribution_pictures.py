"""Draw attributions over digits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_vision.runs.mistake_attributions import MistakeAttributions

Picture = NDArray[np.uint8]

# Vermilion and blue of the colour-blind-safe palette of M. Okabe and K. Ito, "Color Universal
# Design", 2008, https://jfly.uni-koeln.de/color.
_FOR = np.array([213, 94, 0], np.float32)
_AGAINST = np.array([0, 114, 178], np.float32)
_INK = 0.3  # darkness of full ink under the colours
_GAP = 2  # white pixels between two pictures


def overlay(image: Picture, attribution: NDArray[Any]) -> Picture:
    """Draw an attribution over a digit: grey ink on white, vermilion for it, blue against it.

    Args:
        image: `[H, W]` uint8, white on black, as networks see it.
        attribution: `[H, W]` float. The strongest 2 % of the pixels have the full colour, but
            none below a third of the strongest value: a few outliers would leave the rest pale.

    Returns:
        `[H, W, 3]` uint8, RGB.
    """
    size = np.abs(attribution)
    full = max(float(np.quantile(size, 0.98)), float(size.max()) / 3, 1e-12)
    strength = (attribution / full).clip(-1, 1)
    colour = np.where(strength[..., None] > 0, _FOR, _AGAINST)
    share = np.abs(strength)[..., None]
    paper = 255 * (1 - share) + colour * share
    drawn: NDArray[np.float64] = paper * (1 - _INK * image[..., None] / 255)
    return drawn.round().astype(np.uint8)


def draw_explanation(
    image: Picture, grad_cam: NDArray[Any], integrated_gradients: NDArray[Any]
) -> Picture:
    """Draw a digit, its Grad-CAM and its integrated gradients side by side.

    Args:
        image: `[H, W]` uint8, white on black.
        grad_cam: `[H, W]` float in [0, 1].
        integrated_gradients: `[H, W]` float, signed.

    Returns:
        `[H, 3 * W + 4, 3]` uint8, RGB.
    """
    plain = np.repeat(255 - image[..., None], 3, axis=2)
    gap = np.full((len(image), _GAP, 3), 255, np.uint8)
    maps = [overlay(image, grad_cam), gap, overlay(image, integrated_gradients)]
    return np.concatenate([plain, gap, *maps], axis=1)


def draw_mistakes(attributions: MistakeAttributions) -> list[Picture]:
    """Draw the explanation of each mistake: `[28, 88, 3]` uint8, RGB."""
    maps = (attributions.pictures, attributions.grad_cam, attributions.integrated_gradients)
    return [draw_explanation(*each) for each in zip(*maps, strict=True)]
