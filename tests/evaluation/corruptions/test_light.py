"""Light changes by the amounts that it states."""

import numpy as np
import pytest

from tests.evaluation.corruptions.digits import corrupted, draw_digits, fill


def test_brightness_adds_half_of_white():
    levels = fill(0, 1)
    levels[0, 0] = np.arange(0, 252, 9)
    bright = corrupted("brightness", levels)
    assert bright[0, 0].tolist() == [min(level + 128, 255) for level in range(0, 252, 9)]


def test_inversion_exchanges_black_and_white():
    digits = draw_digits(10)
    assert (corrupted("inversion", digits) + digits == 255).all()


def test_fog_leaves_a_quarter_of_the_contrast():
    digits, almost_black = draw_digits(40), fill(0, 40)
    digits[:, 0, 0] = almost_black[:, 0, 0] = 255  # the maximum, by which fog is rescaled
    difference = corrupted("fog", digits) - corrupted("fog", almost_black).astype(float)
    wrong = np.abs(difference - digits / 4)[:, 1:]
    assert wrong.max() < 3  # the map may be a little below 0, which is cut off


def test_fog_is_smooth_and_differs_from_image_to_image():
    dots = fill(0, 200)
    dots[:, 0, 0] = 255
    fog = corrupted("fog", dots).astype(float)[:, 1:, 1:]
    means = fog.mean(axis=(1, 2))
    # At the corner that stays at the middle height of the map.
    assert means.mean() == pytest.approx(0.5 * 3 / 4 * 255, rel=0.1)
    assert means.std() > 20
    steps = np.abs(np.diff(fog, axis=1)).mean()
    assert 0.5 < steps < 0.2 * means.std()
    assert fog.std(axis=(1, 2)).mean() > 3 * steps
