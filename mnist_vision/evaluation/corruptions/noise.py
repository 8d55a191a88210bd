"""Noise of each pixel by itself."""

import numpy as np

from mnist_vision.evaluation.corruptions.corruption import Images, to_bytes, to_floats

_PHOTONS = 3  # that a white pixel receives, on average
_IMPULSES = 0.17  # share of the pixels


def add_shot_noise(images: Images, generator: np.random.Generator) -> Images:
    """Count few photons for each pixel: Poisson noise, with a mean of 3 at white."""
    photons = generator.poisson(to_floats(images) * _PHOTONS)
    return to_bytes((photons / _PHOTONS).astype(np.float32))


def add_impulse_noise(images: Images, generator: np.random.Generator) -> Images:
    """Make 17 % of the pixels black or white, with equal chances."""
    draws = generator.random(images.shape, dtype=np.float32)
    noisy = images.copy()
    noisy[draws < _IMPULSES] = 0
    noisy[draws < _IMPULSES / 2] = 255
    return noisy
