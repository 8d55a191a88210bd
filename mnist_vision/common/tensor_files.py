"""Read files of `torch.save` safely: verified, and without running code."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from mnist_vision.common.errors import first_line


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """Read tensors and plain values onto the CPU.

    The checksums of the file are verified first, if its format has them. Only tensors and plain
    values are unpickled.

    Raises:
        PermissionError: If the file may not be read.
        ValueError: If the file is damaged or holds anything else.
    """
    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"checksum of {damaged} does not match")
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    # A damaged file can raise almost any exception.
    except Exception as error:
        raise ValueError(reason(error)) from error


def reason(error: Exception) -> str:
    """Say in a few words why a file could not be read or written."""
    cause = error if isinstance(error, OSError) else error.__context__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return first_line(error)
