"""Files that are never half-written, and folders that have one owner."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from mnist_vision.errors import UserError

# What a complete run leaves in its directory.
RESULTS_FILE = "results.json"
PREDICTIONS_FILE = "test_predictions.npz"
# What a test of a checkpoint leaves.
EVALUATION_FILE = "evaluation.json"
# What a job of a sweep leaves beside either, complete or not.
JOB_FILE = "job.json"


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path` that takes its place once it is complete and on disk.

    A crash, a full disk or an exception inside the block leaves the old file as it was. The folder
    is made if it is missing.

    Args:
        path: The file to write or replace.

    Yields:
        A binary file to write the new contents to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, not in $TMPDIR: os.replace is atomic within one filesystem only.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes one JSON object, atomically."""
    with write_atomically(path) as file:
        file.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def own_folder(folder: Path, setting: str = "hydra.run.dir") -> Iterator[None]:
    """Holds `folder` for this process, so that no second run or sweep writes into it.

    Args:
        folder: The folder.
        setting: What chooses another.

    Raises:
        UserError: If another process holds it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"{folder}: another process is writing to this directory; "
            f"wait for it to end, or choose another with {setting}=DIR"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power cut, where the platform can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
