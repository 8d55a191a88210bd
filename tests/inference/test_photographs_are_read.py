"""A trained CNN reads photographs, and pictures of every kind."""

import io

import numpy as np
import pytest
from PIL import Image

from mnist_vision import load_predictor
from tests.inference.pens import SEVEN, THREE, drawn
from tests.inference.photographs import development_set

PLAIN = drawn((THREE, (60, 40, 140, 160)))


@pytest.fixture(scope="module")
def predictor(trained_cnn):
    return load_predictor(trained_cnn)


def test_photographs_are_read(predictor):
    pairs = development_set(40)
    answers = [predictor(jpeg) for jpeg, _ in pairs]
    right = sum(
        found is not None and found.digit == label
        for found, (_, label) in zip(answers, pairs, strict=True)
    )
    assert right >= 35


def with_transparent_ground(image, ink):
    alpha = Image.fromarray(255 - np.asarray(image))
    rgba = Image.new("RGBA", image.size, (ink, ink, ink, 0))
    rgba.putalpha(alpha)
    return rgba


def turned_by_exif(image):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    file = io.BytesIO()
    image.rotate(90, expand=True).save(file, "JPEG", exif=exif)
    return file.getvalue()


KINDS = {
    "grey": lambda image: image,
    "inverted": lambda image: Image.fromarray(255 - np.asarray(image)),
    "1 bit": lambda image: image.convert("1"),
    "16 bit": lambda image: np.asarray(image).astype(np.uint16) * 257,
    "colour": lambda image: image.convert("RGB"),
    "CMYK": lambda image: image.convert("CMYK"),
    "palette": lambda image: image.convert("RGB").convert("P"),
    "grey with alpha": lambda image: with_transparent_ground(image, 0).convert("LA"),
    "black on transparent": lambda image: with_transparent_ground(image, 0),
    "white on transparent": lambda image: with_transparent_ground(image, 255),
    "turned by EXIF": turned_by_exif,
    "not square": lambda image: image.crop((40, 0, 160, 200)),
    "huge": lambda image: image.resize((3000, 3000)),
    "tiny": lambda image: image.resize((16, 16)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_digit_is_the_same_in_every_kind_of_picture(predictor, kind):
    found = predictor(KINDS[kind](PLAIN))
    assert found.digit == 3
    assert found.confidence > 0.5


def test_several_digits_are_read(predictor):
    digits = [
        (THREE, (20, 20, 80, 120)),
        (SEVEN, (120, 20, 180, 120)),
        (THREE, (220, 20, 280, 120)),
    ]
    image = drawn(*digits, size=(300, 140), pen=9)
    assert [found.digit for found in predictor.read(image)] == [3, 7, 3]
