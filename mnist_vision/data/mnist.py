"""Read and verify the four files of MNIST.

Data: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0.
"""

import hashlib
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mnist_vision.common.errors import UserError, first_line
from mnist_vision.common.files import explain_os_error
from mnist_vision.common.paths import shortened

Split = Literal["train", "test"]


@dataclass(frozen=True)
class IdxFile:
    """An uncompressed IDX file of bytes: its name, shape and md5.

    The header is a magic number and a 32-bit size for each dimension.
    """

    name: str
    shape: tuple[int, ...]
    md5: str

    @property
    def header_size(self) -> int:
        """Bytes of the header."""
        return 4 + 4 * len(self.shape)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.header_size + math.prod(self.shape)


FILES: dict[Split, tuple[IdxFile, IdxFile]] = {
    "train": (
        IdxFile("train-images-idx3-ubyte", (60_000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"),
        IdxFile("train-labels-idx1-ubyte", (60_000,), "a25bea736e30d166cdddb491f175f624"),
    ),
    "test": (
        IdxFile("t10k-images-idx3-ubyte", (10_000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
        IdxFile("t10k-labels-idx1-ubyte", (10_000,), "27ae3e4e09519cfbb04c329615203637"),
    ),
}


class CorruptFileError(UserError):
    """A file of MNIST is missing or damaged."""


def raw_folder(root: str | os.PathLike[str]) -> Path:
    """Get the folder of the IDX files in a torchvision data root.

    Raises:
        UserError: If the root cannot be the path of a folder.
    """
    try:
        folder = Path(root).expanduser() / "MNIST" / "raw"
        with suppress(OSError):
            folder.stat()
    except (RuntimeError, ValueError) as error:  # of an unknown user, or a NUL
        problem = first_line(error).rstrip(".")
        raise UserError(f"data.root={shortened(root)}: not a valid path ({problem})") from error
    return folder


def all_files() -> list[IdxFile]:
    """List the four files, training split first."""
    return [file for files in FILES.values() for file in files]


def read_idx(folder: Path, expected: IdxFile) -> Tensor:
    """Read a file and verify its md5. The size is checked first, before the file costs memory.

    Returns:
        A uint8 tensor of the expected shape.

    Raises:
        CorruptFileError: If the file is missing or damaged.
        UserError: If it may not be read.
    """
    path = folder / expected.name
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise CorruptFileError(f"{path}: holds {size} bytes, MNIST's has {expected.size}")
        contents = bytearray(path.read_bytes())
    except PermissionError as error:
        raise UserError(explain_os_error(error, folder, "data.root")) from error
    except OSError as error:
        raise CorruptFileError(f"{path}: {error.strerror or error}") from error
    digest = hashlib.md5(contents, usedforsecurity=False).hexdigest()
    if digest != expected.md5:
        raise CorruptFileError(f"{path}: md5 {digest}, MNIST's is {expected.md5}")
    values = torch.frombuffer(contents, dtype=torch.uint8, offset=expected.header_size)
    return values.view(expected.shape)


def load_split(root: str | os.PathLike[str], split: Split) -> tuple[Tensor, Tensor]:
    """Load an official split.

    Args:
        root: A torchvision data root: the files lie in `root`/MNIST/raw.
        split: "train" (60,000 images) or "test" (10,000 images).

    Returns:
        Images `Tensor[N, 1, 28, 28]` uint8 and targets `Tensor[N]` int64 in 0..9.

    Raises:
        CorruptFileError: If a file is missing or corrupt.
    """
    folder = raw_folder(root)
    images, targets = (read_idx(folder, file) for file in FILES[split])
    return images.unsqueeze(1), targets.long()


def faults(folder: Path) -> dict[str, str]:
    """Check the four files in a folder; return a message for each bad one, by name."""
    found = {}
    for file in all_files():
        try:
            read_idx(folder, file)
        except CorruptFileError as error:
            found[file.name] = str(error)
    return found
