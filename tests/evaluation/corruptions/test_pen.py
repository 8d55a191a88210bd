"""Other pens change the strokes and keep the digit."""

import numpy as np
from scipy import ndimage

from mnist_vision.data.mnist import load_split
from tests.evaluation.corruptions.digits import corrupted, draw_bars, draw_digits, fill

EIGHT_NEIGHBOURS = np.ones((3, 3))


def test_edges_are_white_and_the_inside_is_black():
    blocks = fill(0, 1)
    blocks[:, 8:20, 8:20] = 255
    (edges,) = corrupted("canny_edges", blocks)
    assert set(np.unique(edges)) == {0, 255}
    assert (edges[11:17, 11:17] == 0).all()
    assert (edges[:6] == 0).all()
    for across in (edges[11:17], edges[:, 11:17].T):
        found = np.flatnonzero(across.any(axis=0))
        assert set(found) <= {7, 8, 19, 20}
        assert across[:, [7, 8]].any(axis=1).all()
        assert across[:, [19, 20]].any(axis=1).all()


def test_a_thick_pen_widens_strokes_by_one_pixel_on_each_side():
    (bar,) = corrupted("thick_pen", draw_bars(1))
    assert (bar == 255).sum() == 17 * 3 + 2 * (17 + 3)
    assert (bar[5:22, 11:16] == 255).all()


def test_a_thin_pen_narrows_strokes_by_one_pixel_on_each_side():
    (bar,) = corrupted("thin_pen", draw_bars(1))
    assert (bar[:, :13] == 0).all()
    assert (bar[:, 14:] == 0).all()
    assert (bar[7:20, 13] == 255).all()


def test_a_thin_pen_keeps_a_line_of_one_pixel():
    line = fill(0, 1)
    line[0, 4:24, 13] = 200
    assert (corrupted("thin_pen", line) == line).all()


def test_pens_only_add_or_only_remove_ink():
    digits = draw_digits(10)
    assert (corrupted("thick_pen", digits) >= digits).all()
    assert (corrupted("thin_pen", digits) <= digits).all()


def test_a_thin_pen_breaks_almost_no_real_digit(mnist_root: str):
    digits = load_split(mnist_root, "test")[0][:500, 0].numpy()
    thin = corrupted("thin_pen", digits)
    assert 0.4 < thin.mean() / digits.mean() < 0.6
    pieces = [
        [ndimage.label(image > 64, EIGHT_NEIGHBOURS)[1] for image in images]
        for images in (digits, thin)
    ]
    assert np.not_equal(*pieces).mean() < 0.01
