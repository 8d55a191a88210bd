"""Clutter lies where it should, and the rest of the image stays."""

import numpy as np
import pytest

from tests.evaluation.corruptions.digits import corrupted, draw_digits, fill


def centre_rows(images: np.ndarray, column: int) -> np.ndarray:
    """Measure in which row a line crosses a column, `[N]`."""
    line = images[:, :, column].astype(float)
    return line @ np.arange(28) / line.sum(axis=1)


def test_stripes_invert_the_outer_columns():
    digits = draw_digits(10)
    striped = corrupted("stripe", digits)
    assert (striped[:, :, 7:21] == digits[:, :, 7:21]).all()
    for columns in (slice(0, 7), slice(21, 28)):
        assert (striped[:, :, columns] == 255 - digits[:, :, columns]).all()


def test_spatter_covers_parts_with_dark_mud():
    on_black = corrupted("spatter", fill(0, 300))
    on_white = corrupted("spatter", fill(255, 300))
    is_mud = on_black > 0
    assert 50 <= on_black[is_mud].min() <= on_black.max() == 63
    assert (on_white[~is_mud] == 255).all()
    assert (on_white[is_mud] <= 255 * 0.2 + 63).all()
    assert 0.05 < is_mud.mean() < 0.3
    assert len(np.unique(is_mud.reshape(300, -1), axis=0)) > 290


def test_a_dotted_line_is_straight_with_gaps_of_two_columns():
    lines = corrupted("dotted_line", fill(0, 300))
    has_ink = (lines > 0).any(axis=(0, 1))
    assert np.flatnonzero(has_ink).tolist() == [c for c in range(27) if c % 4 in (2, 3)]
    # Lines that do not leave the image at their ends.
    inside = (lines[:, 2:26, 2].max(axis=1) > 0) & (lines[:, 2:26, 26].max(axis=1) > 0)
    first, middle, last = (centre_rows(lines[inside], c) for c in (2, 14, 26))
    assert inside.sum() > 100
    assert np.median(np.abs((first + last) / 2 - middle)) < 0.1
    assert (lines[inside].max(axis=1)[:, has_ink] > 180).all()


def test_a_zigzag_goes_up_and_down_by_two_pixels():
    zigzags = corrupted("zigzag", fill(0, 300))
    assert (zigzags[:, :, :2] == 0).all()
    assert (zigzags[:, :, 26:] == 0).all()
    ink = zigzags.max(axis=1)[:, 3:25]
    inside = (zigzags[:, :3] == 0).all(axis=(1, 2)) & (zigzags[:, 25:] == 0).all(axis=(1, 2))
    assert inside.sum() > 100
    assert (ink[inside] > 150).all()
    columns = np.arange(4, 24)
    rows = np.stack([centre_rows(zigzags[inside], column) for column in columns], axis=1)
    for line in rows:
        off = line - np.polyval(np.polyfit(columns, line, 1), columns)
        assert off.max() == pytest.approx(2, abs=0.7)
        assert off.min() == pytest.approx(-2, abs=0.7)
        assert (np.diff(np.sign(off)) != 0).sum() >= 4


@pytest.mark.parametrize("name", ["dotted_line", "zigzag"])
def test_lines_are_added_to_the_digit(name: str):
    digits = draw_digits(10)
    lines = corrupted(name, fill(0, 10)).astype(int)
    both = np.minimum(digits + lines, 255)
    assert np.abs(corrupted(name, digits) - both).max() <= 1
