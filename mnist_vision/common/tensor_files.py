"""Files of `torch.save`: read so that they are whole, and can do nothing but hold values."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """Reads tensors and plain values onto the CPU.

    Every byte is checked against the file's own checksums first, where its format has any, and
    nothing but tensors and plain values is ever unpickled.

    Raises:
        PermissionError: If the file may not be read.
        ValueError: If it is damaged or holds anything else; says which, in a few words.
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
    # A damaged file can fail in any of a dozen ways, depending on where it was hit.
    except Exception as error:
        raise ValueError(reason(error)) from error


def reason(error: Exception) -> str:
    """Why a file could not be read or written, in a few words: the system's, where it has any."""
    cause = error if isinstance(error, OSError) else error.__context__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
