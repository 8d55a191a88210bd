"""Write files atomically; lock directories; show paths; explain errors of files."""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig

from mnist_vision.common.errors import UserError, first_line

# The names of the temporary files of `write_atomically`, which end with a random UUID.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")

# What to do about an error of a file.
_REMEDIES = {
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "free space on its disk",
    errno.EFBIG: "raise the limit on the size of files, ulimit -f",
    errno.EROFS: "make its disk writable",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.EEXIST: "move the file away that lies in place of a folder",
    errno.ENOTDIR: "move the file away that lies in place of a folder",
    errno.EISDIR: "move this folder away, which lies in place of a file",
}


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write to a temporary file beside `path`, and rename it when it is complete and on disk.

    A crash, a full disk or an exception leaves the old file as it was. The folder is made if it is
    missing. A killed process leaves its temporary file; `remove_leftovers` deletes it.

    Yields:
        The temporary file, open for writing bytes.

    Raises:
        OSError: If it cannot be written. The error names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not in $TMPDIR: os.replace is atomic within one filesystem only.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        # torch.save replaces the error of the file by a RuntimeError.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        # A full disk names no file.
        if isinstance(cause, OSError) and cause.errno and cause.filename in (None, str(temporary)):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder, if it exists.

    No living process may be writing there: hold the lock that all writers of the folder hold.
    """
    for path in folder.glob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # it costs only space
                path.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object atomically."""
    with write_atomically(path) as file:
        file.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def lock_directory(directory: Path, setting: str, *, waits: bool = False) -> Iterator[None]:
    """Lock a directory for this process, so that no other run or sweep writes into it.

    What killed processes left in it is deleted, see `remove_leftovers`.

    Args:
        directory: An existing directory.
        setting: The setting that names the directory, for the error.
        waits: Whether to wait until another process releases it.

    Raises:
        UserError: If another process holds it, or it cannot be written to.
    """
    lock = FileLock(directory / ".lock")
    try:
        lock.acquire(blocking=waits)
    except Timeout:
        raise UserError(
            f"{shown(directory)}: another process is writing to this directory; "
            f"wait for it to end, or choose another with {setting}=DIR"
        ) from None
    except OSError as error:
        raise UserError(
            f"{setting}={shown(directory)}: cannot be written to ({error.strerror}); choose another"
        ) from error
    try:
        remove_leftovers(directory)
        yield
    finally:
        lock.release()


def shown(path: str | os.PathLike[str]) -> Path:
    """Shorten a path for people: relative if it is below the folder of the command."""
    start = HydraConfig.get().runtime.cwd if HydraConfig.initialized() else os.getcwd()
    absolute = Path(start, path)
    return absolute.relative_to(start) if absolute.is_relative_to(start) else absolute


def explain_os_error(error: OSError, directory: Path | None = None, setting: str = "") -> str:
    """Say in one line which file could not be read or written, why, and what to do.

    Args:
        error: The error.
        directory: The directory that the command writes to, if there is one. It is named if the
            error names no file, as that of a full disk.
        setting: The setting that chooses `directory`.
    """
    is_named = isinstance(error.filename, str | bytes | os.PathLike)
    path = Path(os.fsdecode(error.filename)) if is_named else directory
    line = error.strerror or first_line(error)
    if path is not None:
        line = f"{shown(path)}: {line}"
    if error.errno not in _REMEDIES:
        return line
    line += f"; {_REMEDIES[error.errno]}"
    if path is not None and directory is not None:
        is_inside = path.absolute().is_relative_to(directory.absolute())
        line += f", or choose another directory with {setting}=DIR" if is_inside else ""
    return line


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, if the platform can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
