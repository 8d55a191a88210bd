"""Geometry moves ink by the amounts that it states."""

import numpy as np
import pytest

from tests.evaluation.corruptions.digits import (
    centres_of_mass,
    corrupted,
    draw_bars,
    draw_digits,
    fill,
    slopes,
)

CENTRE = 13.5


def spreads(images: np.ndarray) -> np.ndarray:
    """Measure the standard deviations of the rows and the columns of the ink, `[N, 2]`."""
    places = np.arange(28)
    found = []
    for image in images.astype(float):
        for axis in (1, 0):
            ink = image.sum(axis=axis)
            mean = np.average(places, weights=ink)
            found.append(np.sqrt(np.average((places - mean) ** 2, weights=ink)))
    return np.array(found).reshape(-1, 2)


def test_translation_is_by_3_pixels_along_both_axes():
    digits = draw_digits(50)
    moved = corrupted("translate", digits)
    found = set()
    for before, after in zip(digits, moved, strict=True):
        (shift,) = (
            (rows, columns)
            for rows in (-3, 3)
            for columns in (-3, 3)
            if (np.roll(before, (rows, columns), (0, 1)) == after).all()
        )
        found.add(shift)
    assert len(found) == 4


def test_ink_that_leaves_the_image_does_not_come_in_again():
    assert corrupted("translate", fill(200)).mean() == pytest.approx(200 * (25 / 28) ** 2, abs=0.1)


def test_scale_makes_digits_smaller_about_the_centre():
    digits = draw_digits(10)
    small = corrupted("scale", digits)
    assert small.mean() == pytest.approx(0.49 * digits.mean(), rel=0.02)
    expected = CENTRE + 0.7 * (centres_of_mass(digits) - CENTRE)
    assert centres_of_mass(small) == pytest.approx(expected, abs=0.1)


def test_rotation_turns_by_0_4_radians_to_either_side():
    turned = corrupted("rotate", draw_bars(50))
    angles = np.arctan(slopes(turned))
    assert np.abs(angles) == pytest.approx(np.full(50, 0.4), abs=0.04)
    assert angles.min() < 0 < angles.max()
    assert turned.mean() == pytest.approx(draw_bars(1).mean(), rel=0.02)


def test_shear_turns_the_vertical_axis_by_0_4_radians_to_either_side():
    digits = draw_bars(50)
    sheared = corrupted("shear", digits)
    found = slopes(sheared)
    assert np.abs(found) == pytest.approx(np.full(50, np.sin(0.4)), abs=0.03)
    assert found.min() < 0 < found.max()
    assert sheared.mean() == pytest.approx(digits.mean() / np.cos(0.4), rel=0.02)


def test_affnist_stays_in_its_ranges():
    bars = draw_bars(300)
    moved = corrupted("affnist", bars)
    areas = moved.mean(axis=(1, 2)) / bars[0].mean()
    assert 0.62 < areas.min() < 0.75
    assert 1.3 < areas.max() < 1.46
    heights = spreads(moved)[:, 0] / spreads(bars)[0, 0]
    assert 0.7 < heights.min() < 0.85
    assert 1.1 < heights.max() < 1.3
    tilts = np.abs(slopes(moved))
    assert 0.35 < tilts.max() < np.tan(np.pi / 9) + 0.2 * 1.5


def test_affnist_shifts_to_all_places_that_keep_the_ink_inside():
    small = fill(0, 500)
    small[:, 11:17, 11:17] = 255
    moved = corrupted("affnist", small)
    assert moved.mean(axis=(1, 2)) == pytest.approx(
        small[0].mean() * np.ones(500), rel=0.5
    )  # none is cut off: scales alone change the area
    places = centres_of_mass(moved)
    assert (places.min(axis=0) < 5).all()
    assert (places.max(axis=0) > 22).all()
