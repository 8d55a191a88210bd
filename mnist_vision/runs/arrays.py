"""Read the arrays of an .npz file that may be damaged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from mnist_vision.common.errors import UserError


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Read arrays by name; nothing is unpickled.

    Raises:
        UserError: If the file is damaged, or lacks an array.
    """
    try:
        # numpy would leave a damaged file open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, NpzFile):
                raise ValueError("no archive")
            return [loaded[name] for name in names]
    # zipfile, zlib and numpy raise many kinds of errors, even MemoryError.
    except Exception as error:
        raise UserError(f"{path.name}: is damaged ({type(error).__name__})") from error
