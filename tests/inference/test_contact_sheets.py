"""Contact sheets show pictures, what networks were shown, and what was read."""

import os

import numpy as np
import pytest
from PIL import Image

from mnist_vision.inference.contact_sheets import ContactSheets, make_thumbnail
from mnist_vision.inference.picture_reading import Picture
from mnist_vision.inference.predictor import Prediction

RED = (0xD9, 0x2D, 0x20)


def picture(height=28, width=28, reduction=1):
    return Picture(np.full((height, width), 200, np.uint8), reduction)


def prediction(box=(5, 6, 20, 24), shown=None):
    shown = np.full((28, 28), 77, np.uint8) if shown is None else shown
    return Prediction(3, 0.5, np.full(10, 0.1, np.float32), box, shown)


@pytest.fixture
def draw(tmp_path):
    """Draws one cell a picture; gives the sheets as arrays `[H, W, 3]`."""

    def run(*cells):
        sheets = ContactSheets(tmp_path)
        for each in cells:
            sheets.add(*each)
        sheets.close()
        return [np.asarray(Image.open(path)) for path in sorted(tmp_path.glob("*.png"))]

    return run


@pytest.mark.parametrize("size", [(28, 28), (1, 1), (1, 2000), (2000, 1), (300, 900), (5, 3)])
def test_a_thumbnail_has_112_pixels_along_its_longer_side(size):
    thumbnail = make_thumbnail(picture(*size))
    assert max(thumbnail.image.size) == 112
    assert min(thumbnail.image.size) >= 1
    assert thumbnail.scale == 112 / max(size)


def test_a_cell_shows_picture_box_and_digit(draw):
    (sheet,) = draw(("some.png", make_thumbnail(picture()), [prediction()]))
    assert sheet.shape == (162, 248, 3)
    assert (sheet[8 + 14 * 4, 8 + 2 * 4] == 200).all()
    assert (sheet[8 : 8 + 112, 128 : 128 + 112] == 77).all()
    rows, columns = np.nonzero((sheet == RED).all(axis=2))
    assert (columns.min() - 8, rows.min() - 8) == (20, 24)
    assert (columns.max() - 8, rows.max() - 8) == (80, 96)
    text = sheet[122:]
    assert (text < 100).any()


def test_the_box_lies_on_the_reduced_picture(draw):
    thumbnail = make_thumbnail(picture(1000, 1000, reduction=3))
    (sheet,) = draw(("some.png", thumbnail, [prediction((1500, 0, 3000, 3000))]))
    _, columns = np.nonzero((sheet == RED).all(axis=2))
    assert (columns.min() - 8, columns.max() - 8) == (56, 112)


def test_a_picture_without_a_digit_is_shown(draw):
    (sheet,) = draw(("some.png", make_thumbnail(picture()), []))
    assert (sheet[8 : 8 + 112, 8 : 8 + 112] == 200).all()
    assert (sheet[8 : 8 + 112, 128:240] == 255).all()


def test_full_sheets_are_written_and_numbered(draw, tmp_path):
    cell = ("some.png", make_thumbnail(picture()), [prediction()] * 3)
    sheets = draw(*[cell] * 27)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        f"contact_sheet_00{number}.png" for number in (1, 2, 3)
    ]
    assert [sheet.shape[:2] for sheet in sheets] == [(1296, 1240), (1296, 1240), (162, 248)]


def test_nothing_is_written_without_pictures(draw):
    assert draw() == []


@pytest.mark.parametrize("size", [(40, 20), (1, 9), (300, 64), (0, 4)])
def test_what_a_detector_found_may_have_any_shape(draw, size):
    (sheet,) = draw(
        ("some.png", make_thumbnail(picture()), [prediction(shown=np.full(size, 77, np.uint8))])
    )
    height, width = size
    shown = (sheet[8:120, 128:240] == 77).all(axis=2)
    if not height:
        assert not shown.any()
        return
    rows, columns = shown.any(axis=1).sum(), shown.any(axis=0).sum()
    assert max(rows, columns) == 112
    assert rows / columns == pytest.approx(height / width, rel=0.1)


@pytest.mark.parametrize(
    "name", ["x" * 5000, "数字 é 🙂.png", "a\nb\x1b.png", os.fsdecode(b"\xff.png"), ""]
)
def test_any_name_can_be_drawn(draw, name):
    (sheet,) = draw((name, make_thumbnail(picture()), [prediction()]))
    assert sheet.shape == (162, 248, 3)
