"""Files that would fill memory, and damaged ones, are refused in one line."""

import random
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from mnist_vision.common.errors import UserError
from mnist_vision.inference import picture_reading
from mnist_vision.inference.picture_reading import read_picture
from tests.inference.test_picture_reading import (
    GREY,
    LOSSLESS,
    LOSSY,
    NO_PICTURE,
    encoded,
    refusal,
)


def test_a_file_of_more_bytes_than_a_picture_needs_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(picture_reading, "MAX_BYTES", 1000)
    (tmp_path / "some.webp").write_bytes(encoded(GREY, "PNG") + bytes(1000))
    assert "some.webp: has more than" in refusal("some.webp")
    assert "has more than" in refusal((tmp_path / "some.webp").read_bytes())


# Small files that would fill memory.


def chunk(name, content):
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png_of_zeros(width, height, *chunks, rows=True):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    compress = zlib.compressobj(9)
    data = b"".join(compress.compress(bytes(1 + width)) for _ in range(height * rows))
    data = chunk(b"IDAT", data + compress.flush())
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


def with_bytes(content, place, layout, *numbers):
    spoilt = bytearray(content)
    struct.pack_into(layout, spoilt, place, *numbers)
    return bytes(spoilt)


def with_tiff_tag(content, tag, number):
    """Set one whole number of the directory, which is the first one."""
    (start,) = struct.unpack_from("<I", content, 4)
    (num_tags,) = struct.unpack_from("<H", content, start)
    places = [start + 2 + 12 * index for index in range(num_tags)]
    (place,) = [each for each in places if struct.unpack_from("<H", content, each) == (tag,)]
    return with_bytes(content, place, "<HHII", tag, 4, 1, number)


def bombs():
    gif, jpeg, bmp = encoded(GREY, "GIF"), encoded(GREY, "JPEG"), encoded(GREY, "BMP")
    tiff, webp = encoded(GREY, "TIFF"), encoded(GREY, "WEBP", lossless=True)
    jpeg_2000 = encoded(GREY, "JPEG2000")
    side = 10**5
    huge_jpeg_2000 = with_bytes(jpeg_2000, jpeg_2000.index(b"ihdr") + 4, ">II", side, side)
    large = "has more than 64 million pixels"
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000), 9))
    frames = [Image.new("L", GREY.size, number % 255) for number in range(1000)]
    return {
        "81 million pixels.png": (png_of_zeros(9000, 9000), large),
        "121 million pixels.png": (png_of_zeros(11000, 11000, rows=False), large),
        "179 million pixels.png": (png_of_zeros(13400, 13400, rows=False), large),
        "header.png": (png_of_zeros(2**31 - 1, 2**31 - 1, rows=False), large),
        "text.png": (png_of_zeros(28, 28, *[text] * 200), NO_PICTURE),
        "profile.png": (
            png_of_zeros(28, 28, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8), 1))),
            NO_PICTURE,
        ),
        "screen.gif": (with_bytes(gif, 6, "<HH", 65535, 65535), large),
        "frame.gif": (with_bytes(gif, gif.index(b",\0\0\0\0") + 5, "<HH", 65535, 65535), large),
        "frames.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames), None),
        "header.jpg": (with_bytes(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 65500, 65500), large),
        "header.bmp": (with_bytes(bmp, 18, "<ii", side, side), large),
        "header.tif": (with_tiff_tag(with_tiff_tag(tiff, 256, side), 257, side), large),
        "header.webp": (with_bytes(webp, webp.index(b"VP8L") + 9, "<I", 0x0FFFFFFF), large),
        "header.jp2": (
            with_bytes(
                huge_jpeg_2000, jpeg_2000.index(b"\xff\x51") + 6, ">II", side, side
            ),
            large,
        ),
        "header.pgm": (b"P5 100000 100000 255\n", large),
    }  # fmt: skip


def test_small_files_that_would_fill_memory_are_refused_by_their_headers(tmp_path):
    files = bombs()
    assert max(len(content) for content, _ in files.values()) < 500_000
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    script = (
        "import resource, sys\n"
        "from mnist_vision.common.errors import UserError\n"
        "from mnist_vision.inference.picture_reading import picture_suffixes, read_picture\n"
        "picture_suffixes()\n"
        "kilobytes = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = kilobytes()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        print(read_picture(path).pixels.shape)\n"
        "    except UserError as error:\n"
        "        print(error)\n"
        "assert kilobytes() - before < 64_000, kilobytes() - before\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_utime < 20\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *files], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for (name, (_, problem)), line in zip(files.items(), done.stdout.splitlines(), strict=True):
        assert line.startswith("(28, 28)" if problem is None else f"{name}: {problem}")


@pytest.mark.parametrize("kind", [*LOSSLESS, *(f"{kind} (lossy)" for kind in LOSSY)])
def test_damaged_files_are_read_or_refused_in_one_line(kind, capfd):
    image, format_, options = {**LOSSLESS, **{f"{key} (lossy)": LOSSY[key] for key in LOSSY}}[kind]
    content = encoded(image, format_, **options)
    rng = random.Random(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as commands do; see `quiet_libraries`
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(rng.choice((1, 2, 5, 20))):
                place = rng.randrange(min(len(damaged), rng.choice((60, 5000))))
                damaged[place] = rng.randrange(256)
            end = rng.choice((None, None, rng.randrange(len(damaged))))
            message, picture = "", None
            try:
                picture = read_picture(bytes(damaged[:end]))
            except UserError as error:
                message = str(error)
            assert "\n" not in message
            assert picture is None or (
                picture.pixels.dtype == np.uint8 and picture.pixels.ndim == 2
            )
    assert capfd.readouterr().out == ""
