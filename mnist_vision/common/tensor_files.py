"""Read files of `torch.save` safely: verified, and without running code."""

import errno
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor

from mnist_vision.common.paths import find_file, shortened

# The first bytes of the two formats of torch.save: the present one, and that before torch 1.6.
_ZIP = b"PK\x03\x04"
_LEGACY = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """Read tensors and plain values onto the CPU.

    The checksums of the file are verified first, if its format has them. Only tensors and plain
    values are unpickled.

    Args:
        path: The file; `~` is the home folder.

    Raises:
        OSError: If the file cannot be read; `strerror` says why.
        ValueError: If the file is damaged or holds anything else; says what is wrong.
    """
    # Opened here: by a path that ends in .safetensors, torch would choose another format.
    with find_file(path).open("rb") as file:
        head = file.read(len(_LEGACY))
        if not head:
            raise ValueError("it is empty")
        try:
            if head.startswith(_ZIP):
                _verify(file)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the error says it in one line
                return torch.load(file, map_location="cpu", weights_only=True)
        except _FileError:
            raise
        # A damaged file can raise almost any exception.
        except Exception as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a bad offset
                raise
            raise ValueError(_explain(error, head)) from error


class _FileError(ValueError):
    """A file that cannot be loaded; the message says why."""


def _verify(file: IO[bytes]) -> None:
    """Check that a zip archive is one of `torch.save`, and intact."""
    with zipfile.ZipFile(file) as archive:
        names = {member.filename.partition("/")[2] for member in archive.infolist()}
        if "data.pkl" not in names:
            raise _FileError("it is a zip archive, but not one of torch.save")
        if "constants.pkl" in names:
            raise _FileError("it is a program of TorchScript, not a file of torch.save")
        # A small file could otherwise unpack to more than fits into memory.
        if any(member.compress_type for member in archive.infolist()):
            raise _FileError("it is a compressed archive, which torch.save never writes")
        damaged = archive.testzip()
    if damaged is not None:
        raise _FileError(f"the checksum of {shortened(damaged)} does not match")


def _explain(error: Exception, head: bytes) -> str:
    """Say why torch cannot load a file.

    Args:
        error: What was raised.
        head: The first bytes of the file.
    """
    # The name of a class or function, by which a pickle can run any code.
    refused = re.search(r"GLOBAL (\S*\w)", str(error))
    if isinstance(error, pickle.UnpicklingError) and refused:
        name = shortened(refused[1])
        return f"it holds {name}, and only tensors and plain values are loaded"
    if not head.startswith((_ZIP, _LEGACY)):
        return "it is not a file of torch.save"
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds more than tensors and plain values"
    return "it is damaged or ends too early"


def is_state_dict(state: Any) -> bool:
    """Test whether something is a dictionary of plain tensors by name, and not empty."""
    return (
        isinstance(state, dict)
        and bool(state)
        and all(isinstance(k, str) and _is_plain(v) for k, v in state.items())
    )


def find_misfit(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> str | None:
    """Find the first difference between a state dict and what a network needs, if there is one.

    Args:
        state: The state dict.
        shapes: Name and shape of each tensor of the network.
    """
    missing = [name for name in shapes if name not in state]
    foreign = [name for name in state if name not in shapes]
    if missing:
        return f"it lacks {_first(missing)}"
    if foreign:
        return f"it holds {_first(foreign)}, which the network does not have"
    for name, shape in shapes.items():
        if state[name].shape != shape:
            return f"{name} has shape {list(state[name].shape)}, must have {list(shape)}"
    return None


def find_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Find the first tensor with values that are NaN or infinite, if there is one."""
    for name, tensor in state.items():
        values = tensor.float()
        if values.sum().isfinite():  # the usual case, in a tenth of the time
            continue
        num_wrong = int((~values.isfinite()).sum())  # 0 if the sum alone is too large
        if num_wrong:
            return f"{num_wrong:,} of {tensor.numel():,} values of {name} are NaN or infinite"
    return None


def _first(names: list[str]) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return shortened(names[0]) + others


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_quantized or value.is_meta or value.is_complex())
        # With strides of 0 a tensor may be larger than its file and the memory.
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )
