import numpy as np
import pytest
from PIL import Image

from mnist_vision.data.mnist import load_split
from mnist_vision.inference.picture_reading import Picture
from mnist_vision.inference.preparation import is_prepared, prepare
from tests.inference.pens import ONE, SEVEN, THREE, drawn, lit


def picture_of(image):
    return Picture(np.asarray(image))


def test_every_test_image_passes_unchanged(mnist_root):
    images = load_split(mnist_root, "test")[0][:, 0].numpy()
    assert sum(image[[0, -1]].any() or image[:, [0, -1]].any() for image in images) == 107
    for image in images:
        (view,) = prepare(Picture(image)).digits
        assert view.image is image
        assert (view.origin, view.scale) == ((0, 0), 1)


def test_an_inverted_test_image_becomes_the_image(mnist_root):
    for image in load_split(mnist_root, "test")[0][:500, 0].numpy():
        (view,) = prepare(Picture(255 - image)).digits
        np.testing.assert_array_equal(view.image, image)


def test_a_grey_border_or_another_size_is_prepared():
    assert is_prepared(np.zeros((28, 28), np.uint8))
    assert not is_prepared(np.full((28, 28), 3, np.uint8))
    assert not is_prepared(np.zeros((28, 29), np.uint8))


@pytest.mark.parametrize("side", [28, 100])
@pytest.mark.parametrize("several", [False, True])
def test_a_blank_picture_has_no_digit(side, several):
    for level in (0, 255):
        prepared = prepare(Picture(np.full((side, side), level, np.uint8)), several=several)
        assert (prepared.digits, prepared.scene) == ([], None)


def test_a_drawing_is_twenty_pixels_long_and_in_the_middle():
    (view,) = prepare(picture_of(drawn((THREE, (20, 110, 70, 180)), size=(300, 200)))).digits
    rows, columns = (np.flatnonzero((view.image > 60).any(axis=axis)) for axis in (1, 0))
    assert 19 <= rows[-1] - rows[0] + 1 <= 21
    assert abs((columns[0] + columns[-1]) / 2 - 14) < 3
    assert view.image.max() == 255
    assert view.image[:3].max() == 0


def test_boxes_are_in_pixels_of_the_picture():
    image = drawn((SEVEN, (100, 60, 200, 180)), size=(400, 300), pen=10)
    for reduction in (1, 3):
        picture = Picture(np.asarray(image), reduction)
        (view,) = prepare(picture).digits
        wanted = np.array([95, 55, 205, 185]) * reduction
        np.testing.assert_allclose(view.box, wanted, atol=6 * reduction)
        rows, columns = (np.flatnonzero(view.image.any(axis=axis)) for axis in (1, 0))
        corners = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(view.to_picture(corners), view.box, atol=10 * reduction)


def test_size_place_light_and_polarity_make_no_difference():
    plain = drawn((THREE, (60, 40, 140, 160)))
    larger = plain.resize((500, 500), Image.Resampling.BICUBIC)
    moved = Image.new("L", (420, 300), 240)
    moved.paste(plain, (200, 80))
    inverted = Image.fromarray(255 - np.asarray(plain))
    (reference,) = prepare(picture_of(plain)).digits
    for each in (larger, moved, inverted, lit(plain)):
        (view,) = prepare(picture_of(each)).digits
        difference = np.abs(view.image.astype(float) - reference.image).mean()
        assert difference < 6  # of 255


def test_several_digits_are_found_in_their_order():
    digits = [(SEVEN, (20, 20, 80, 100)), (ONE, (120, 30, 140, 110)), (THREE, (180, 20, 240, 100))]
    image = lit(drawn(*digits, size=(270, 130), pen=8))
    prepared = prepare(picture_of(image), several=True)
    assert len(prepared.digits) == 3
    for view, (_, box) in zip(prepared.digits, digits, strict=True):
        centre = (view.box[0] + view.box[2]) / 2
        assert centre == pytest.approx((box[0] + box[2]) / 2, abs=5)
    assert len(prepare(picture_of(image)).digits) == 1


def test_a_scene_shows_all_digits_in_the_size_of_mnists():
    digits = [(SEVEN, (20, 20, 80, 120)), (THREE, (180, 20, 240, 120))]
    scene = prepare(picture_of(drawn(*digits, size=(270, 150))), several=True).scene
    height, width = scene.image.shape
    assert height == 64
    assert 64 <= width < 100
    rows, columns = (np.flatnonzero((scene.image > 60).any(axis=axis)) for axis in (1, 0))
    assert 18 <= len(rows) <= 24
    corners = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    np.testing.assert_allclose(scene.to_picture(corners), scene.box, atol=6)
