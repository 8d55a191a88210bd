"""The suites of corruptions, by name."""

from pathlib import Path

import numpy as np

from mnist_vision.evaluation.corruptions import blur, clutter, geometry, light, noise, pen
from mnist_vision.evaluation.corruptions.cache import load_or_compute
from mnist_vision.evaluation.corruptions.corruption import Corruption, Images

# Raised when a corruption changes: figures before and after it cannot be compared.
VERSION = 1

_MNIST_C = "MNIST-C, Mu and Gilmer 2019, https://arxiv.org/abs/1906.02337"
_MORPHO_MNIST = "Morpho-MNIST, Castro et al. 2019, https://arxiv.org/abs/1809.10780"
_AFFNIST = "affNIST, Tieleman 2013, https://www.cs.toronto.edu/~tijmen/affNIST/"
_CHUNK = 1000  # images: what the functions need of memory, a few hundred MB at most

SUITES: dict[str, tuple[Corruption, ...]] = {
    "corruptions": (
        Corruption("shot_noise", noise.add_shot_noise, _MNIST_C),
        Corruption("impulse_noise", noise.add_impulse_noise, _MNIST_C),
        Corruption("glass_blur", blur.blur_by_glass, _MNIST_C),
        Corruption("motion_blur", blur.blur_by_motion, _MNIST_C),
        Corruption("shear", geometry.shear, _MNIST_C),
        Corruption("scale", geometry.scale, _MNIST_C),
        Corruption("rotate", geometry.rotate, _MNIST_C),
        Corruption("translate", geometry.translate, _MNIST_C),
        Corruption("brightness", light.brighten, _MNIST_C),
        Corruption("fog", light.add_fog, _MNIST_C),
        Corruption("stripe", clutter.add_stripes, _MNIST_C),
        Corruption("spatter", clutter.add_spatter, _MNIST_C),
        Corruption("dotted_line", clutter.add_dotted_line, _MNIST_C),
        Corruption("zigzag", clutter.add_zigzag, _MNIST_C),
        Corruption("canny_edges", pen.draw_edges, _MNIST_C),
        Corruption("thick_pen", pen.thicken_pen, _MORPHO_MNIST, is_in_mean=False),
        Corruption("thin_pen", pen.thin_pen, _MORPHO_MNIST, is_in_mean=False),
        Corruption("inversion", light.invert, _MNIST_C, is_in_mean=False),
        Corruption("affnist", geometry.move_as_affnist, _AFFNIST, is_in_mean=False),
    )
}


def corrupt(corruption: Corruption, images: Images) -> Images:
    """Corrupt images; the same images always give the same result.

    Args:
        corruption: What to do.
        images: `[N, 28, 28]` uint8.
    """
    generator = np.random.default_rng(list(corruption.name.encode()))
    corrupted = np.empty_like(images)
    for start in range(0, len(images), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        corrupted[chunk] = corruption.function(images[chunk], generator)
    return corrupted


def load_corrupted(corruption: Corruption, images: Images, cache: Path) -> Images:
    """Corrupt images, or read them from the cache, if they were corrupted before.

    Args:
        corruption: What to do.
        images: `[N, 28, 28]` uint8.
        cache: The folder of the cache, see `cache.load_or_compute`; it is made if it is missing.
    """
    return load_or_compute(
        cache, corruption.name, VERSION, images, lambda: corrupt(corruption, images)
    )
