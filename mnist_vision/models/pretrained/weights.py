"""Weights that training starts from: torchvision's, or those of a file; checked before use."""

import hashlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchvision.models import WeightsEnum

from mnist_vision.common.errors import FieldError, first_line
from mnist_vision.common.paths import find_file, shortened
from mnist_vision.common.tensor_files import (
    find_misfit,
    find_not_finite,
    is_state_dict,
    load_tensors,
)

log = logging.getLogger(__name__)

# Timeout of connections.
TIMEOUT_SECONDS = 10

Shapes = Mapping[str, torch.Size]


class StartingWeights(NamedTuple):
    """Weights, and the input that they were trained on.

    Args:
        tensors: By torchvision's names: `features.*` and, if known, `classifier.*` without the
            last layer, which is for ImageNet's classes.
        mean: Mean of red, green and blue in [0, 1], `Tensor[3]`.
        std: Their standard deviation, `Tensor[3]`.
    """

    tensors: dict[str, Tensor]
    mean: Tensor
    std: Tensor


def find_weights(weights: str, known: type[WeightsEnum], shapes: Shapes) -> StartingWeights:
    """Find weights by name, in the cache or on the network, or in a file.

    A file holds a state dict with torchvision's names, of the whole network or of its convolutions
    alone. The input is normalised as for `IMAGENET1K_V1`. If the file holds only convolutions, and
    torchvision has `IMAGENET1K_FEATURES` for the architecture, it is normalised as for those.

    Args:
        weights: A name in `known`, or the path of a file.
        known: torchvision's weights of the architecture.
        shapes: Names and shapes of the state dict of the network. The last two are the last layer.

    Raises:
        FieldError: If there are no such weights, they cannot be downloaded, or they do not fit.
    """
    try:
        if weights in known.__members__:
            source = known[weights]
            tensors = _read(_download(source), shapes)
        else:
            tensors = _read(_find_file(weights, known), shapes)
            source = _guess_source(tensors, known)
            # Logged by one process of several.
            rank_zero_only(log.info)("%s: input normalised as for %s", weights, source.name)
    except ValueError as error:
        raise FieldError("weights", shortened(weights), str(error)) from error
    preset = source.transforms()
    return StartingWeights(tensors, torch.tensor(preset.mean), torch.tensor(preset.std))


def _find_file(weights: str, known: type[WeightsEnum]) -> Path:
    names = ", ".join(known.__members__)
    try:
        return find_file(weights)
    except FileNotFoundError:
        problem = f"neither a file nor one of {names}"
    except OSError as error:
        problem = f"cannot be read ({error.strerror}), and is none of {names}"
    raise ValueError(f"{problem}; null trains from scratch")


def _guess_source(tensors: Mapping[str, Tensor], known: type[WeightsEnum]) -> WeightsEnum:
    """Choose torchvision's weights whose input normalisation the file most likely used."""
    is_whole = any(name.startswith("classifier.") for name in tensors)
    name = "IMAGENET1K_V1" if is_whole else "IMAGENET1K_FEATURES"
    return known[name if name in known.__members__ else "IMAGENET1K_V1"]


def _download(source: WeightsEnum) -> Path:
    """Download weights into torch's cache, unless they are there; return the file.

    torchvision's `get_state_dict` does not verify a cached file, waits for ever, and writes to
    standard error.

    Raises:
        ValueError: If the weights cannot be downloaded, or the cached file is damaged.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(source.url).path).name
    digest = path.stem.rpartition("-")[2]
    if os.path.isfile(path):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest().startswith(digest):
                return path
        raise ValueError(
            f"{path}: damaged, its sha256 does not begin with {digest}; delete it to download it "
            "again"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot make the folder {folder} ({error.strerror}); TORCH_HOME=DIR in front of the "
            "command chooses another"
        ) from error
    rank_zero_only(log.info)("%s: downloading %s into %s", source.name, source.url, folder)
    usual_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)  # torch.hub sets none
    try:
        torch.hub.download_url_to_file(source.url, str(path), digest, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, HTTPException) as error:
        raise ValueError(
            f"cannot download {source.url} ({_reason(error)}); put that file into {folder}, give "
            "the path of a file, or train from scratch with null"
        ) from error
    finally:
        socket.setdefaulttimeout(usual_timeout)
    return path


def _read(path: Path, shapes: Shapes) -> dict[str, Tensor]:
    """Read a file, and return the tensors that the network uses.

    Raises:
        ValueError: If the file is damaged, or holds something else than weights of the network.
    """
    try:
        state = load_tensors(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: cannot be used: {error}") from error
    if not is_state_dict(state):
        raise ValueError(f"{path}: not a state dict, which is a dict of plain tensors by name")
    names = list(shapes)[:-2]
    # torchvision fills the classifier of IMAGENET1K_FEATURES with NaN.
    heads = {name: state[name] for name in state if name.startswith("classifier.")}
    is_whole = any(find_not_finite({name: head}) is None for name, head in heads.items())
    wanted = [name for name in names if is_whole or name.startswith("features.")]
    # The network uses nothing else, but knows the names of the rest.
    relevant = {name: state[name] for name in state if name in wanted or name not in shapes}
    problem = find_misfit(relevant, {name: shapes[name] for name in wanted})
    if problem is not None:
        raise ValueError(f"{path}: not weights of this architecture: {problem}")
    problem = find_not_finite(relevant)
    if problem is not None:
        raise ValueError(f"{path}: {problem}")
    return {name: state[name].float() for name in wanted}


def _reason(error: Exception) -> str:
    """Say in a few words why a download failed."""
    cause = error if isinstance(error, OSError) else error.__context__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return first_line(error)
