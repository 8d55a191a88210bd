"""Read a picture of any kind as grey pixels."""

import io
import os
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown
from mnist_vision.common.paths import find_file, shortened

Pixels = NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.generic]

# Raster formats that Pillow decodes by itself; it would hand EPS to another program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
FORMAT_NAMES = "PNG, JPEG, WebP, BMP, TIFF or GIF"
# More than any telephone's camera takes. A larger picture may be a small file that fills memory.
MAX_PIXELS = 64_000_000
MAX_BYTES = 1 << 28  # such a picture needs 192 MB if it is not compressed
# A larger picture is reduced: digits stay far above the 28 pixels that networks see.
MAX_SIDE = 2000
_TOO_LARGE = f"has more than {MAX_PIXELS // 1_000_000} million pixels; make it smaller"
_DAMAGED = "is damaged or ends too early"
_TOO_LONG = f"has more than {MAX_BYTES >> 20} MB; make it smaller"
# The largest values of 8, 12, 16 and 32 bits.
_FULL_SCALES = (255, 4095, 65535, 2**32 - 1)

# Pillow warns of pictures above its own limit, which is higher than ours.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as grey pixels.

    Args:
        pixels: `[H, W]` uint8.
        reduction: Pixels of the original, along each side, for one of these.
    """

    pixels: Pixels
    reduction: int = 1


def read_picture(source: Source) -> Picture:
    """Read a picture as grey pixels, upright, without transparency; of several frames the first.

    Args:
        source: A path, the bytes of a file, a Pillow image, or an array: `[H, W]`, `[1, H, W]` or
            `[H, W, C]` with 1 to 4 channels, of whole numbers or bool, or of numbers in [0, 1].

    Raises:
        UserError: If it is no picture, damaged, empty, or has more than `MAX_PIXELS`.
    """
    try:
        if isinstance(source, str | os.PathLike):
            return _decode(_read_file(source))
        if isinstance(source, bytes):
            return _decode(source)
        if isinstance(source, Image.Image):
            return _to_grey(_copy(source))
        return _to_grey(_image_of(np.asarray(source)))
    except UserError as error:
        name = "the picture"
        if isinstance(source, str | os.PathLike):
            name = str(shortened(shown(source)))
        raise UserError(f"{name}: {error}") from error


def _read_file(path: str | os.PathLike[str]) -> bytes:
    try:
        with find_file(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise UserError(_TOO_LONG)
            return file.read()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from error


def picture_suffixes() -> set[str]:
    """List the suffixes of picture files, in lower case: ".png", ".jpg", ..."""
    Image.init()
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS}


def _decode(content: bytes) -> Picture:
    with _open(content) as image:
        return _to_grey(image)


def _open(content: bytes) -> Image.Image:
    """Read the header of a picture, and check its size before anything is decoded."""
    if not content:
        raise UserError("is empty")
    if len(content) > MAX_BYTES:
        raise UserError(_TOO_LONG)
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(_TOO_LARGE) from error
    except Exception as error:  # damaged headers raise errors of many kinds
        raise UserError(f"is no picture that can be read; give {FORMAT_NAMES}") from error


def _copy(image: Image.Image) -> Image.Image:
    """Copy an image of the caller. Copying decodes its file, if that has not happened yet."""
    try:
        return image.copy()
    except Exception as error:
        raise UserError(_DAMAGED) from error


def _to_grey(image: Image.Image) -> Picture:
    if image.width * image.height > MAX_PIXELS:
        raise UserError(_TOO_LARGE)
    if not image.width * image.height:
        raise UserError("has no pixels")
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        mode = _plain_mode(image)
        if image.mode != mode:
            image = image.convert(mode)
    except Exception as error:  # damaged files raise errors of many kinds
        raise UserError(_DAMAGED) from error
    reduction = -(-max(image.size) // MAX_SIDE)
    if reduction > 1:  # at once, because copies of large pictures fill memory
        image = image.reduce(reduction)
    if image.mode in ("I", "F"):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    return Picture(np.asarray(_flatten(image)), reduction)


def _plain_mode(image: Image.Image) -> str:
    """Choose the mode, among five that can be reduced, that holds what an image shows."""
    if image.mode.startswith(("I", "F")):  # some have 16 bits
        return image.mode[0]
    if image.has_transparency_data:
        return "RGBA"
    return "L" if image.mode == "L" else "RGB"


def _flatten(image: Image.Image) -> Image.Image:
    """Convert to grey; put what is transparent on a plain ground.

    The ground continues what is visible. If most of a picture is transparent, only ink is visible,
    and the ground is black or white, whichever is further from it.
    """
    grey = image.convert("L")
    if image.mode != "RGBA":
        return grey
    alpha = image.getchannel("A")
    opacity = np.asarray(alpha)
    visible = np.asarray(grey)[opacity > 127]
    level = int(np.median(visible)) if visible.size else 0
    if opacity.mean() < 127:
        level = 255 if level < 128 else 0
    return Image.composite(grey, Image.new("L", grey.size, level), alpha)


def _image_of(array: NDArray[np.generic]) -> Image.Image:
    """Make an image of an array."""
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))
    if not is_picture or array.dtype.kind not in "buif":
        raise UserError(
            f"an array of shape {list(array.shape)} and type {array.dtype} is no picture; give "
            "[H, W] or [H, W, channels] of uint8, or of float in 0 to 1"
        )
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise UserError(_TOO_LARGE)
    return Image.fromarray(_to_bytes(array))


def _to_bytes(values: NDArray[np.generic]) -> Pixels:
    """Scale numbers to 0 to 255: whole numbers from the fewest bits that hold them.

    Raises:
        UserError: If fractions are not in [0, 1], or whole numbers not in 32 bits.
    """
    if values.dtype == np.uint8 or not values.size:
        return values.astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    is_fraction = values.dtype.kind == "f"
    if not 0 <= low <= high <= (1 if is_fraction else _FULL_SCALES[-1]):
        allowed = "finite and in 0 to 1" if is_fraction else f"in 0 to {_FULL_SCALES[-1]:,}"
        raise UserError(f"its values go from {low:g} to {high:g}; they must be {allowed}")
    is_unit = is_fraction or values.dtype == np.bool_
    full = 1 if is_unit else next(scale for scale in _FULL_SCALES if high <= scale)
    numbers = values.astype(np.float32)
    numbers *= 255 / full
    numbers += 0.5
    return numbers.astype(np.uint8)
