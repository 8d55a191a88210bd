"""Paths that users type: find their files, and shorten them for errors."""

import errno
import os
import stat
from pathlib import Path

_LONGEST = 200  # characters of a value in an error


def find_file(path: str | os.PathLike[str]) -> Path:
    """Find a file; its path may begin with `~`.

    Raises:
        OSError: If there is none, or it is a folder, a pipe or a device, whose reading might never
            end. `strerror` says why.
    """
    found = Path(os.path.expanduser(path))
    try:
        mode = found.stat().st_mode
    except ValueError as error:  # a NUL, or text that no file can have as its name
        raise OSError(errno.EINVAL, "Not a valid path") from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file")
    return found


def shortened(value: object) -> str:
    """Shorten a long text to its beginning, its end and its length."""
    text = str(value)
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 4 :]} ({len(text):,} characters)"
