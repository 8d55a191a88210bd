"""Tell the ink of a picture from its paper, whatever the light."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mnist_vision.inference.picture_reading import Pixels

# Shares of ink, 0 to 1, and the pixels that are ink.
Ink = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LEAST_SIDE = 96  # of the longer side; smaller pictures are enlarged
# The paper is looked at in this size, where a window that is wider than strokes is cheap.
_PAPER_SIDE = 96
_STROKE_SHARE = 0.25  # of the longer side: strokes are narrower
_LEAST_WINDOW = 15  # pixels: all of a tiny picture, whose strokes are a third of it
_PAPER_SHARE = 0.6  # of a picture, at least
_FIT_ROUNDS = 8
_NOISE_SHARE = 128  # of the longer side: noise is averaged over as many pixels
_LEAST_CONTRAST = 0.12  # of ink and paper: less is noise or a shadow
# Difference of the means of ink and paper over the sum of their standard deviations. Noise that a
# threshold parts has 1.3 to 1.5; digits of 8 pixels have 1.8, photographs of digits 3.3 and more.
_LEAST_SEPARATION = 1.7
_SPECK_SHARE = 0.04  # of the area of the largest part of the ink: smaller parts are specks


def white_on_black(pixels: Pixels) -> Pixels:
    """Invert a picture whose border is bright.

    Ink is what is furthest from the paper.
    """
    small = _shrink(pixels, _PAPER_SIDE)
    difference = small - fit_paper(small)
    low, high = np.percentile(difference, (0.5, 99.5))
    inverted: Pixels = 255 - pixels
    return inverted if -low > high else pixels


def fit_paper(pixels: Ink) -> Ink:
    """Fit a polynomial of the second degree to the paper of a picture, whatever its light.

    The border shows what the paper is like: the fit begins with the pixels that are most like it.
    """
    height, width = pixels.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    border = np.concatenate([pixels[[0, -1]].ravel(), pixels[:, [0, -1]].ravel()])
    paper: NDArray[np.floating] = np.full_like(pixels, np.median(border))
    for _ in range(_FIT_ROUNDS):
        errors = np.abs(pixels - paper)
        near = errors <= np.quantile(errors, _PAPER_SHARE)
        chosen = terms[near]
        ridge = 1e-3 * len(chosen) * np.eye(terms.shape[-1], dtype=np.float32)
        paper = terms @ np.linalg.solve(chosen.T @ chosen + ridge, chosen.T @ pixels[near])
    return paper


def ink_of(pixels: Pixels) -> Ink:
    """Measure how much ink is on each pixel, 0 to 1, from a white-on-black picture.

    The paper is what is left when strokes are closed by the paper around them. A pixel is compared
    with the paper at its place, so uneven light and shadows have no effect.
    """
    light = 255 - pixels.astype(np.float32)  # dark ink on bright paper
    small = 255 - _shrink(pixels, _PAPER_SIDE)
    even = np.maximum(fit_paper(small), 1)
    window = max(_LEAST_WINDOW, round(_STROKE_SHARE * max(small.shape)))
    shadows = ndimage.grey_closing(small / even, size=(window, window), mode="nearest")
    paper = even * ndimage.uniform_filter(shadows, window // 2, mode="nearest")
    paper = np.asarray(Image.fromarray(paper).resize(light.shape[::-1], Image.Resampling.BILINEAR))
    ink: Ink = np.clip(1 - light / np.maximum(paper, 1), 0, 1)
    return ink


def enlarge(ink: Ink, reduction: int) -> tuple[Ink, float]:
    """Enlarge a small picture, so that strokes are several pixels wide and edges are smooth."""
    factor = _LEAST_SIDE // max(ink.shape)
    if factor < 2:
        return ink, reduction
    height, width = ink.shape
    size = (factor * width, factor * height)
    enlarged: Ink = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC))
    return enlarged.clip(0, 1), reduction / factor


def find_ink(ink: Ink) -> Mask | None:
    """Find the pixels of ink, without specks; None if there is none.

    Otsu's threshold parts ink and paper best. What it parts on an empty picture is noise: then the
    two are hardly apart.
    """
    smooth = ndimage.uniform_filter(ink, max(3, max(ink.shape) // _NOISE_SHARE))
    mask: Mask = smooth > otsu(smooth)
    if not mask.any() or mask.all():
        return None
    digits = remove_specks(mask)
    written, paper = smooth[digits], smooth[~mask]
    contrast = written.mean() - paper.mean()
    if contrast < max(_LEAST_CONTRAST, _LEAST_SEPARATION * (written.std() + paper.std())):
        return None
    return digits


def otsu(ink: Ink) -> float:
    """Find the threshold with the largest variance between the two classes.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    counts = np.bincount((ink * 255).astype(np.uint8).ravel(), minlength=256)
    levels = np.arange(256) / 255
    below = counts.cumsum()[:-1]
    above = counts.sum() - below
    sums = (counts * levels).cumsum()
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    variance = below * above * (mean_above - mean_below) ** 2
    # Between two clear classes the variance is flat: take the middle.
    best = np.flatnonzero(variance >= variance.max() * (1 - 1e-9))
    return float(levels[best].mean() + 0.5 / 255)


def remove_specks(mask: Mask) -> Mask:
    """Remove parts that are much smaller than the largest one, and what reaches the border.

    Shadows and edges of paper reach the border. If all parts do, they are ink.
    """
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    reaching = np.unique(np.concatenate([labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()]))
    inner = areas.copy()
    inner[reaching] = 0
    if inner.max() > _SPECK_SHARE * areas.max():
        areas = inner
    kept: Mask = (areas > _SPECK_SHARE * areas.max())[labels]
    return kept


def _shrink(pixels: Pixels, longest: int) -> Ink:
    """Average a picture to at most `longest` pixels a side."""
    image = Image.fromarray(pixels)
    factor = -(-max(image.size) // longest)
    return np.asarray(image.reduce(factor) if factor > 1 else image, dtype=np.float32)
