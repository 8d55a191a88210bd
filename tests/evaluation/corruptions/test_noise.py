"""Noise has the strength that it states."""

import numpy as np
import pytest

from tests.evaluation.corruptions.digits import corrupted, draw_digits, fill


def test_shot_noise_counts_photons():
    third = corrupted("shot_noise", fill(85))  # one photon a pixel, on average
    assert set(np.unique(third)) == {0, 85, 170, 255}
    assert (third == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert (third == 85).mean() == pytest.approx(np.exp(-1), abs=0.01)


def test_shot_noise_leaves_black_alone():
    digits = draw_digits(10)
    assert (corrupted("shot_noise", digits)[digits == 0] == 0).all()


def test_impulse_noise_hits_17_percent_of_the_pixels():
    noisy = corrupted("impulse_noise", fill(100))
    assert (noisy == 0).mean() == pytest.approx(0.085, abs=0.005)
    assert (noisy == 255).mean() == pytest.approx(0.085, abs=0.005)
    assert (noisy == 100).mean() == pytest.approx(0.83, abs=0.005)
