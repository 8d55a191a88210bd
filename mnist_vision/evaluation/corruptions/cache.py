"""Keep corrupted images in files, verified when they are read.

A file holds a SHA-256 and the pixels, uncompressed. For MNIST's test images these are 19 files with
149 MB. Deflated they would have 40 MB, but take 4 s more to write and 0.5 s more to read: computing
all of it takes 8 s.
"""

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mnist_vision.common.errors import first_line
from mnist_vision.common.files import shown, write_atomically
from mnist_vision.evaluation.corruptions.corruption import Images

log = logging.getLogger(__name__)

_DIGEST_SIZE = hashlib.sha256().digest_size  # bytes


def load_or_compute(
    folder: Path, name: str, version: int, images: Images, compute: Callable[[], Images]
) -> Images:
    """Read what was computed of images before, or else compute it and keep it.

    A damaged file is replaced, with a warning. If the folder cannot be written to, one warning says
    so.

    Args:
        folder: The folder of the files; it is made if it is missing.
        name: What is computed.
        version: Files of other versions are not read.
        images: From what it is computed.
        compute: Computes images of the same shape.
    """
    key = hashlib.sha256(f"{name} {version} {images.shape}".encode())
    key.update(images.tobytes())
    path = folder / f"{name}_{key.hexdigest()[:16]}.uint8"
    computed = _read(path, key.digest(), images.shape)
    if computed is None:
        computed = compute()
        _write(path, key.digest(), computed)
    return computed


def _read(path: Path, key: bytes, shape: tuple[int, ...]) -> Images | None:
    """Read the images of a file; None if it is missing or damaged."""
    try:
        size = path.stat().st_size
        expected = _DIGEST_SIZE + int(np.prod(shape))
        content = np.fromfile(path, np.uint8) if size == expected else np.empty(0, np.uint8)
    except OSError:  # writing it will say why
        return None
    pixels = content[_DIGEST_SIZE:]
    if content[:_DIGEST_SIZE].tobytes() != _digest(key, pixels):
        log.warning("%s: is damaged; the images are computed again", shown(path))
        return None
    return pixels.reshape(shape)


def _write(path: Path, key: bytes, images: Images) -> None:
    """Write images to a file, or warn that it cannot be written."""
    try:
        with write_atomically(path) as file:
            file.write(_digest(key, images))
            file.write(images.tobytes())
    except OSError as error:
        _warn_once(
            f"{shown(path.parent)}: corrupted images cannot be kept here "
            f"({error.strerror or first_line(error)}); they are computed again each time"
        )


def _digest(key: bytes, pixels: Images) -> bytes:
    """Compute the SHA-256 of key and pixels; by the key, a file under a wrong name is damaged."""
    digest = hashlib.sha256(key)
    digest.update(pixels.tobytes())
    return digest.digest()


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)
