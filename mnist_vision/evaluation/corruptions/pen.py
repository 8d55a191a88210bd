"""Other pens: outlines, thick strokes and thin strokes."""

import numpy as np
from scipy import ndimage
from skimage.feature import canny
from skimage.morphology import skeletonize

from mnist_vision.evaluation.corruptions.corruption import SIDE, Images, to_floats

_CROSS = ndimage.generate_binary_structure(2, 1)[None]  # 3x3, within an image
_FAINTEST_INK = 64  # of what the thin pen keeps


def draw_edges(images: Images, generator: np.random.Generator) -> Images:
    """Keep the edges alone, white on black.

    Canny's edge detector as MNIST-C uses it: sigma 1, thresholds 0.1 and 0.2.
    """
    edges = [
        canny(image, sigma=1, low_threshold=0.1, high_threshold=0.2) for image in to_floats(images)
    ]
    return np.stack(edges).astype(np.uint8) * 255


def thicken_pen(images: Images, generator: np.random.Generator) -> Images:
    """Widen the strokes by one pixel on each side: a grey dilation by a cross of 3x3 pixels."""
    thick: Images = ndimage.grey_dilation(images, footprint=_CROSS, mode="constant")
    return thick


def thin_pen(images: Images, generator: np.random.Generator) -> Images:
    """Narrow the strokes by one pixel on each side, and keep their skeleton.

    A grey erosion by a cross of 3x3 pixels would wipe out what has 2 pixels or fewer; the pixels of
    the skeleton keep their value.
    """
    thin = ndimage.grey_erosion(images, footprint=_CROSS, mode="constant")
    # All images above each other, each with a black row below, so that one call does for all.
    ink = np.pad(images > _FAINTEST_INK, [(0, 0), (0, 1), (0, 0)])
    skeletons = skeletonize(ink.reshape(-1, SIDE)).reshape(ink.shape)[:, :-1]
    return np.where(skeletons, images, thin)
