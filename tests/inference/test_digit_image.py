import numpy as np
import pytest
from scipy import ndimage

from mnist_vision.data.mnist import load_split
from mnist_vision.inference.digit_image import (
    centre_by_mass,
    digit_image,
    pen_width,
    scale_digit,
    sharpen,
    widen_thin_strokes,
)


def bar(height, width, pen):
    """A vertical bar in the middle."""
    ink = np.zeros((height, width), np.float32)
    start = (width - pen) // 2
    ink[:, start : start + pen] = 1
    return ink


def test_faint_ink_becomes_white_and_noise_black():
    ink = 0.3 * bar(60, 60, 9) + np.random.default_rng(0).normal(0.03, 0.005, (60, 60))
    mask = ink > 0.2
    sharp = sharpen(ink.astype(np.float32), mask)
    assert np.median(sharp[mask]) == pytest.approx(1, abs=0.05)
    assert sharp[:, :15].max() == 0
    assert sharp[~mask].mean() < 0.02


@pytest.mark.parametrize("pen", [4, 10, 20])
def test_the_width_of_a_pen_is_measured(pen):
    assert pen_width(bar(200, 80, pen) > 0) == pytest.approx(pen, abs=1)


def test_thin_strokes_become_as_wide_as_the_thinnest_of_mnist():
    widened = widen_thin_strokes(bar(80, 60, 2))
    assert pen_width(widened > 0.5) == pytest.approx(1.7 * 4, abs=1)


def test_strokes_that_are_wide_enough_stay_as_they_are():
    ink = bar(80, 60, 12)
    assert widen_thin_strokes(ink) is ink


def test_a_line_thinner_than_a_pixel_is_widened():
    image, _, _ = digit_image(bar(900, 500, 1))
    assert image.max() > 200
    assert image.sum() / 255 > 25


@pytest.mark.parametrize(("shape", "size"), [((300, 100), (20, 7)), ((5, 8), (12, 20))])
def test_the_longer_side_gets_the_size_and_the_other_keeps_its_share(shape, size):
    scaled = scale_digit(np.ones(shape, np.float32), 20)
    assert scaled.shape == size
    np.testing.assert_allclose(scaled, 1, atol=1e-6)


def test_reducing_averages():
    fine = np.indices((200, 200)).sum(axis=0).astype(np.float32) % 2
    np.testing.assert_allclose(scale_digit(fine, 20), 0.5, atol=1e-6)


def test_the_centre_of_mass_comes_to_the_middle_as_in_mnist(mnist_root):
    images = load_split(mnist_root, "test")[0][:500, 0].numpy()
    for image in images:
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        digit = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        centred, row, column = centre_by_mass(digit.astype(np.float32) / 255)
        assert abs(row - rows[0]) <= 1
        assert abs(column - columns[0]) <= 1
        np.testing.assert_array_equal(
            centred[row : row + len(rows), column : column + digit.shape[1]], digit
        )


def test_a_lopsided_digit_stays_inside():
    digit = np.zeros((20, 20), np.float32)
    digit[:2], digit[2:, :1] = 1, 0.1
    image, row, column = centre_by_mass(digit)
    assert (row, column) == (8, 5)
    assert ndimage.sum(image) == pytest.approx(ndimage.sum((digit * 255 + 0.5).astype(np.uint8)))
