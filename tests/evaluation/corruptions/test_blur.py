"""Blur moves ink, and keeps its amount."""

import numpy as np
import pytest

from tests.evaluation.corruptions.digits import centres_of_mass, corrupted, draw_digits, fill


@pytest.mark.parametrize("name", ["glass_blur", "motion_blur"])
def test_blur_keeps_the_amount_of_ink(name: str):
    digits = draw_digits(50)
    assert corrupted(name, digits).mean() == pytest.approx(digits.mean(), rel=0.02)
    assert (corrupted(name, fill(77)) == 77).all()


def test_glass_blur_blurs_along_columns_only():
    lines = fill(0)
    lines[:, :, 14] = 255
    blurred = corrupted("glass_blur", lines)
    assert (blurred[:, :, 17:] == 0).all()  # each of the 2 rounds moves it by 1 at most
    assert blurred[:, :, 15].any()
    assert blurred[:, :, 13].any()


def test_glass_blur_reaches_the_last_row_and_column():
    dots = fill(0)
    dots[:, 27, 27] = 255
    blurred = corrupted("glass_blur", dots)
    rows, columns = centres_of_mass(blurred).T
    assert (rows < 27).any()
    assert (columns < 27).any()
    assert (columns >= 20).all()


def test_motion_blur_smears_to_the_left_at_up_to_45_degrees():
    dots = fill(0, 200)
    dots[:, 14, 20] = 255
    rows, columns = (centres_of_mass(corrupted("motion_blur", dots)) - (14, 20)).T
    steps = np.arange(21)
    mean_step = np.average(steps, weights=np.exp(-(steps**2) / 18))
    lengths = np.hypot(rows, columns)
    assert lengths == pytest.approx(np.full(200, mean_step), abs=0.35)
    angles = np.arctan2(rows, -columns)
    assert angles.min() == pytest.approx(-np.pi / 4, abs=0.15)
    assert angles.max() == pytest.approx(np.pi / 4, abs=0.15)
