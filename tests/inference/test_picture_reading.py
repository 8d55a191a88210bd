"""Pictures of every kind, and files that are none."""

import io
import os
import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mnist_vision.common.errors import UserError
from mnist_vision.inference.picture_reading import MAX_SIDE, picture_suffixes, read_picture
from tests.conftest import synthetic_digits

DIGIT = synthetic_digits(4)[0][3, 0].numpy()
GREY = Image.fromarray(DIGIT)
ORIENTATION = 0x112


def encoded(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def rgba(grey, alpha):
    return Image.merge("RGBA", [*[Image.fromarray(grey)] * 3, Image.fromarray(alpha)])


def sixteen_bits():
    return Image.fromarray(DIGIT.astype(np.uint16) * 257)


def fractions():
    return Image.fromarray(DIGIT.astype(np.float32) / 255)


RGB, BINARY = GREY.convert("RGB"), Image.fromarray(DIGIT > 127)
# Kinds that keep every pixel.
LOSSLESS = {
    "PNG": (GREY, "PNG", {}),
    "PNG, RGB": (RGB, "PNG", {}),
    "PNG, RGBA": (GREY.convert("RGBA"), "PNG", {}),
    "PNG, grey and alpha": (GREY.convert("LA"), "PNG", {}),
    "PNG, palette": (GREY.convert("P"), "PNG", {}),
    "PNG, 16 bits": (sixteen_bits(), "PNG", {}),
    "PNG, 16 bits, one transparent": (sixteen_bits(), "PNG", {"transparency": 65535}),
    "PNG, interlaced": (GREY, "PNG", {"interlace": 1}),
    "WebP": (RGB, "WEBP", {"lossless": True}),
    "WebP, RGBA": (GREY.convert("RGBA"), "WEBP", {"lossless": True}),
    "BMP": (GREY, "BMP", {}),
    "BMP, RGB": (RGB, "BMP", {}),
    "TIFF": (GREY, "TIFF", {}),
    "TIFF, 16 bits": (sixteen_bits(), "TIFF", {}),
    "TIFF, fractions": (fractions(), "TIFF", {}),
    "TIFF, compressed": (RGB, "TIFF", {"compression": "tiff_lzw"}),
    "GIF": (GREY, "GIF", {}),
    "GIF, two frames": (
        GREY,
        "GIF",
        {"save_all": True, "append_images": [ImageOps.invert(GREY)]},
    ),
    "PGM": (GREY, "PPM", {}),
    "JPEG 2000": (GREY, "JPEG2000", {}),
}
LOSSY = {
    "JPEG": (GREY, "JPEG", {"quality": 100}),
    "JPEG, RGB": (RGB, "JPEG", {"quality": 100, "progressive": True}),
    "JPEG, CMYK": (GREY.convert("CMYK"), "JPEG", {"quality": 100}),
    "JPEG, two pictures": (RGB, "MPO", {"quality": 100}),
    "WebP": (RGB, "WEBP", {"quality": 100}),
    "AVIF": (RGB, "AVIF", {"quality": 100}),
}
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif", "GIF": "gif"}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_kinds_give_the_pixels_of_the_original(kind):
    image, format_, options = LOSSLESS[kind]
    picture = read_picture(encoded(image, format_, **options))
    assert picture.pixels.dtype == np.uint8
    assert np.array_equal(picture.pixels, DIGIT)
    assert picture.reduction == 1


@pytest.mark.parametrize("kind", LOSSY)
def test_other_kinds_give_nearly_the_pixels_of_the_original(kind):
    image, format_, options = LOSSY[kind]
    difference = read_picture(encoded(image, format_, **options)).pixels - DIGIT.astype(int)
    assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_is_black_or_white(kind):
    pixels = read_picture(encoded(BINARY.convert("1"), kind)).pixels
    assert np.array_equal(pixels, np.where(DIGIT > 127, 255, 0))


@pytest.mark.parametrize("mode", ["1", "P", "PA", "HSV", "YCbCr", "RGBX", "RGBa", "I", "I;16B"])
def test_images_of_any_mode_are_read(mode):
    image = sixteen_bits() if mode == "I;16B" else GREY.convert("RGBA" if mode == "RGBa" else mode)
    if mode == "RGBa":
        image = image.convert(mode)
    if mode == "I;16B":
        image = Image.frombytes(mode, GREY.size, (DIGIT.astype(">u2") * 257).tobytes())
    expected = np.asarray(image.convert("L")) if mode == "1" else DIGIT
    assert np.array_equal(read_picture(image).pixels, expected)


def test_black_ink_keeps_its_polarity():
    assert np.array_equal(read_picture(ImageOps.invert(GREY)).pixels, 255 - DIGIT)


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("hidden", [0, 255])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_ink_on_a_transparent_ground_is_put_on_the_opposite_ground(ink, hidden, kind):
    alpha = np.where(DIGIT == 255, 255, 0).astype(np.uint8)
    image = rgba(np.where(alpha > 0, ink, hidden).astype(np.uint8), alpha)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    expected = np.where(alpha > 0, ink, 255 - ink)
    assert np.array_equal(read_picture(encoded(image, kind, **options)).pixels, expected)


def test_a_transparent_palette_colour_and_level_are_ground():
    binary = Image.fromarray(np.where(DIGIT == 255, 255, 0).astype(np.uint8))
    for image, kind in ((binary.convert("P"), "GIF"), (binary, "PNG"), (binary, "GIF")):
        pixels = read_picture(encoded(image, kind, transparency=0)).pixels
        assert np.array_equal(pixels, np.asarray(binary))


def test_transparent_corners_continue_the_paper():
    paper = np.where(DIGIT == 255, 0, 200).astype(np.uint8)
    alpha = np.full_like(paper, 255)
    alpha[:3, :3] = 0
    hidden = paper.copy()
    hidden[:3, :3] = 0
    assert np.array_equal(read_picture(rgba(hidden, alpha)).pixels, paper)


def test_a_picture_that_is_all_transparent_is_plain():
    pixels = read_picture(rgba(DIGIT, np.zeros_like(DIGIT))).pixels
    assert len(np.unique(pixels)) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_upright(orientation, kind):
    wide = Image.fromarray(DIGIT[:20])
    # The inverse of what is done to show it.
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = (wide if back is None else wide.transpose(back)).convert("RGB")
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(stored, kind, exif=exif, **options)
    assert np.array_equal(read_picture(content).pixels, DIGIT[:20])


def test_the_image_of_a_caller_is_not_changed():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image = Image.open(io.BytesIO(encoded(Image.fromarray(DIGIT[:20]), "PNG", exif=exif)))
    assert read_picture(image).pixels.shape == (28, 20)
    assert image.size == (28, 20)
    assert image.getexif()[ORIENTATION] == 6


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "I;16", "F"])
def test_a_large_picture_is_reduced(mode):
    side = MAX_SIDE + 400
    image = Image.new("L", (side, side // 2))
    image.paste(255, (0, 0, side // 2, side // 2))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32) / 255)
    else:
        image = image.convert(mode)
    picture = read_picture(image)
    assert picture.reduction == 2
    assert picture.pixels.shape == (side // 4, side // 2)
    assert (picture.pixels[:, : side // 4] == 255).all()
    assert (picture.pixels[:, side // 4 :] == 0).all()


ARRAYS = {
    "uint8": DIGIT,
    "uint16": DIGIT.astype(np.uint16) * 257,
    "big-endian": DIGIT.astype(">u2") * 257,
    "int64": DIGIT.astype(np.int64),
    "float64": DIGIT / 255,
    "float32": np.float32(DIGIT / 255),
    "with a channel": DIGIT[..., None],
    "as of torch": torch.from_numpy(DIGIT)[None] / 255,
    "RGB": np.dstack([DIGIT] * 3),
    "RGB, float": np.dstack([DIGIT] * 3) / 255,
    "grey and alpha": np.dstack([DIGIT, np.full_like(DIGIT, 255)]),
    "RGBA": np.dstack([*[DIGIT] * 3, np.full_like(DIGIT, 255)]),
    "strided": np.repeat(DIGIT, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_read(kind):
    assert np.array_equal(read_picture(ARRAYS[kind]).pixels, DIGIT)


def test_more_ways_to_scale_numbers():
    assert read_picture(np.array([[True, False]])).pixels.tolist() == [[255, 0]]
    assert read_picture(np.array([[2**32 - 1, 0]], np.uint32)).pixels.tolist() == [[255, 0]]
    assert read_picture(np.array([[4095, 0]], np.uint16)).pixels.tolist() == [[255, 0]]


WRONG = "is no picture; give [H, W] or [H, W, channels] of uint8, or of float in 0 to 1"
REFUSED_ARRAYS = {
    "one axis": (np.zeros(9), WRONG),
    "no axis": (np.array(3), WRONG),
    "channels first": (np.zeros((3, 28, 28)), WRONG),
    "a batch": (np.zeros((1, 1, 28, 28)), WRONG),
    "five channels": (np.zeros((28, 28, 5), np.uint8), WRONG),
    "objects": (np.zeros((2, 2), object), WRONG),
    "complex": (np.zeros((2, 2), complex), WRONG),
    "text": (np.array([["a"]]), WRONG),
    "dates": (np.zeros((2, 2), "M8[s]"), WRONG),
    "None": (None, WRONG),
    "NaN": (np.full((2, 2), np.nan), "go from nan to nan; they must be finite and in 0 to 1"),
    "infinite": (np.full((2, 2), np.inf), "go from inf to inf; they must be finite and in 0 to 1"),
    "floats to 255": (DIGIT.astype(float), "must be finite and in 0 to 1"),
    "negative fractions": (DIGIT / -255, "must be finite and in 0 to 1"),
    "negative": (-DIGIT.astype(int), "go from -255 to 0; they must be in 0 to 4,294,967,295"),
    "huge": (DIGIT.astype(np.uint64) * 10**15, "they must be in 0 to 4,294,967,295"),
    "beyond float64": (np.full((2, 2), np.finfo(np.longdouble).max), "must be finite"),
    "no rows": (np.zeros((0, 28), np.uint8), "has no pixels"),
    "no columns": (np.zeros((28, 0)), "has no pixels"),
    "no pixels": (np.zeros((0, 0, 3), np.uint8), "has no pixels"),
    "enormous": (np.broadcast_to(np.float32(0), (10**5, 10**5)), "more than 64 million pixels"),
    "no pixels, Pillow": (Image.new("L", (0, 5)), "has no pixels"),
}


def refusal(source):
    with pytest.raises(UserError) as caught:
        read_picture(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kind", REFUSED_ARRAYS)
def test_other_arrays_are_refused(kind):
    array, problem = REFUSED_ARRAYS[kind]
    message = refusal(array)
    assert message.startswith("the picture: ")
    assert problem in message


def test_paths_that_lead_to_no_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo("pipe")
    assert refusal("missing.png") == "missing.png: cannot be read (No such file or directory)"
    assert refusal(tmp_path / "folder") == "folder: cannot be read (Is a directory)"
    assert refusal("pipe") == "pipe: cannot be read (Not a regular file)"
    assert "Too many levels of symbolic links" in refusal("loop")
    assert "Not a regular file" in refusal("/dev/zero")
    assert "Not a valid path" in refusal("\0")
    assert "File name too long" in refusal("x" * 5000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads all files")
def test_a_file_without_permission_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "secret.png").chmod(0)
    assert "Permission denied" in refusal(tmp_path / "secret.png")


NO_PICTURE = "is no picture that can be read; give PNG, JPEG, WebP, BMP, TIFF or GIF"
FOREIGN = {
    "text": b"some text\n" * 9,
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="28" height="28"/>',
    "PDF": encoded(GREY, "PDF"),
    "EPS": encoded(GREY, "EPS"),
    "random bytes": random.Random(0).randbytes(5000),
    "signature alone": b"\x89PNG\r\n\x1a\n",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_that_are_no_pictures_are_refused(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.png").write_bytes(FOREIGN[kind])
    assert refusal("some.png") == f"some.png: {NO_PICTURE}"


def test_an_empty_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.png").write_bytes(b"")
    assert refusal("some.png") == "some.png: is empty"
    assert refusal(b"") == "the picture: is empty"


def test_the_content_counts_and_not_the_suffix(tmp_path):
    (tmp_path / "some.png").write_bytes(encoded(GREY, "BMP"))
    assert np.array_equal(read_picture(tmp_path / "some.png").pixels, DIGIT)


def test_a_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "some.png").write_bytes(encoded(GREY, "PNG"))
    assert np.array_equal(read_picture("~/some.png").pixels, DIGIT)


@pytest.mark.parametrize("kind", SUFFIXES)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
def test_truncated_files_are_refused(kind, share):
    content = encoded(Image.effect_noise((64, 64), 50), kind)
    message = refusal(content[: int(share * len(content))])
    assert NO_PICTURE in message or "is damaged or ends too early" in message


def test_a_damaged_image_of_pillow_is_refused():
    image = Image.open(io.BytesIO(encoded(Image.effect_noise((64, 64), 50), "PNG")[:2000]))
    assert refusal(image) == "the picture: is damaged or ends too early"


def test_suffixes_of_readable_pictures_are_known():
    assert {f".{suffix}" for suffix in SUFFIXES.values()} <= picture_suffixes()
    assert {".jpeg", ".tiff", ".pgm"} <= picture_suffixes()
    assert not {".pdf", ".eps", ".svg", ".txt", ".ico"} & picture_suffixes()
