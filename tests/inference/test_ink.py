import numpy as np
import pytest
from PIL import Image

from mnist_vision.inference.ink import (
    enlarge,
    find_ink,
    fit_paper,
    ink_of,
    otsu,
    remove_specks,
    white_on_black,
)
from tests.inference.pens import ONE, SEVEN, THREE, drawn, lit

PLACE = (60, 40, 140, 160)


def pixels_of(image):
    return np.asarray(image)


@pytest.mark.parametrize("digit", [ONE, SEVEN, THREE])
@pytest.mark.parametrize("is_lit", [False, True])
def test_the_border_tells_which_is_the_ink(digit, is_lit):
    image = drawn((digit, PLACE))
    dark_ink = pixels_of(lit(image) if is_lit else image)
    np.testing.assert_array_equal(white_on_black(dark_ink), 255 - dark_ink)
    np.testing.assert_array_equal(white_on_black(255 - dark_ink), 255 - dark_ink)


def test_a_digit_that_fills_the_picture_is_still_the_ink():
    tight = pixels_of(drawn((THREE, (2, 2, 46, 62)), size=(48, 64), pen=9, paper=0, ink=255))
    np.testing.assert_array_equal(white_on_black(tight), tight)


def test_the_fit_follows_the_light_and_not_the_ink():
    light = np.linspace(100, 220, 80)[None, :].repeat(60, axis=0).astype(np.float32)
    picture = light.copy()
    picture[15:45, 30:36] = 20
    np.testing.assert_allclose(fit_paper(picture), light, atol=5)


def test_even_ink_has_the_same_share_in_light_and_shadow():
    picture = lit(drawn((ONE, (30, 20, 50, 180)), (ONE, (150, 20, 170, 180))), noise=0)
    ink = ink_of(255 - pixels_of(picture))
    assert ink[60:140, 40].mean() == pytest.approx(1 - 40 / 240, abs=0.05)
    assert ink[60:140, 160].mean() == pytest.approx(ink[60:140, 40].mean(), abs=0.05)
    assert ink[:, 95:105].max() < 0.05


def test_the_ink_is_found_under_uneven_light():
    image = drawn((THREE, PLACE))
    truth = pixels_of(image) < 128
    found = find_ink(ink_of(255 - pixels_of(lit(image))))
    assert (found & truth).sum() / (found | truth).sum() > 0.9


@pytest.mark.parametrize("paper", [0, 128, 255])
def test_plain_paper_has_no_ink(paper):
    assert find_ink(ink_of(np.full((100, 120), paper, np.uint8))) is None


@pytest.mark.parametrize("noise", [2, 10, 25])
@pytest.mark.parametrize("size", [(60, 80), (300, 200)])
def test_noise_on_paper_is_no_ink(noise, size):
    picture = pixels_of(lit(Image.new("L", size, 200), noise=noise))
    for each in (picture, 255 - picture):
        assert find_ink(ink_of(each)) is None


def test_otsu_parts_two_levels_in_the_middle():
    ink = np.where(np.arange(1000) < 900, 0.2, 0.8).astype(np.float32)
    assert 0.45 < otsu(ink) < 0.55


def test_specks_and_what_reaches_the_border_are_removed():
    mask = np.zeros((100, 100), bool)
    mask[30:70, 45:55] = True
    digit = mask.copy()
    mask[10:12, 10:12] = True
    mask[:, :20] |= np.arange(100)[:, None] > 80
    np.testing.assert_array_equal(remove_specks(mask), digit)


def test_a_digit_that_reaches_the_border_stays_if_there_is_no_other():
    mask = np.zeros((50, 50), bool)
    mask[:, 20:30] = True
    np.testing.assert_array_equal(remove_specks(mask), mask)


def test_small_pictures_are_enlarged_by_a_whole_number():
    ink, reduction = enlarge(np.eye(8, dtype=np.float32), 1)
    assert ink.shape == (96, 96)
    assert reduction == 1 / 12
    assert 0 <= ink.min() <= ink.max() <= 1
    same, reduction = enlarge(np.zeros((60, 120), np.float32), 3)
    assert (same.shape, reduction) == ((60, 120), 3)
