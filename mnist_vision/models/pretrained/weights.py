"""Weights to start from: torchvision's by name, or a file of them; checked before they are used."""

import hashlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchvision.models import WeightsEnum

from mnist_vision.common.errors import UserError
from mnist_vision.common.tensor_files import load_tensors, reason

log = logging.getLogger(__name__)

# Without an answer for this long, a server counts as out of reach.
TIMEOUT_SECONDS = 10

Shapes = Mapping[str, torch.Size]


class StartingWeights(NamedTuple):
    """Weights, and the input that they were trained on.

    Args:
        tensors: By torchvision's names: `features.*`, and `classifier.*` where they are known.
            The last layer, which tells ImageNet's classes apart, is not among them.
        mean: What is taken from red, green and blue in [0, 1], `Tensor[3]`.
        std: What they are then divided by, `Tensor[3]`.
    """

    tensors: dict[str, Tensor]
    mean: Tensor
    std: Tensor


def find_weights(weights: str, known: type[WeightsEnum], shapes: Shapes) -> StartingWeights:
    """Gets weights by name, from the cache or the network, or from a file.

    A file holds a state dict by torchvision's names, of the whole network or of its convolutions
    alone. Mean and standard deviation of the input are, for a whole network, those of
    `IMAGENET1K_V1`; for convolutions alone those of `IMAGENET1K_FEATURES` where the architecture
    has such weights.

    Args:
        weights: A name in `known`, or the path of a file.
        known: The weights that torchvision has of the architecture.
        shapes: Names and shapes of the network's state dict, its last layer being the last two.

    Raises:
        UserError: If there are no such weights, or they cannot be had, or do not fit.
    """
    if weights in known.__members__:
        path, source = _download(weights, known[weights]), known[weights]
        where = f"model.weights={weights}: {path}"
    else:
        path, source = Path(os.path.expanduser(weights)), None
        where = f"model.weights={path}"
        if not os.path.isfile(path):
            raise UserError(
                f"model.weights={weights}: neither a file nor one of {', '.join(known.__members__)}"
                "; model.weights=null trains from scratch"
            )
    tensors = _check(path, shapes, where)
    if source is None:
        is_whole = any(name.startswith("classifier.") for name in tensors)
        kind = "IMAGENET1K_V1" if is_whole else "IMAGENET1K_FEATURES"
        source = known[kind if kind in known.__members__ else "IMAGENET1K_V1"]
        # Said once, however many processes train.
        rank_zero_only(log.info)("%s: its input is normalised as that of %s", where, source.name)
    preset = source.transforms()
    return StartingWeights(tensors, torch.tensor(preset.mean), torch.tensor(preset.std))


def _download(name: str, source: WeightsEnum) -> Path:
    """The file in torch's cache, fetched if need be, and checked against the hash in its name."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(source.url).path).name
    digest = path.stem.rpartition("-")[2]
    if os.path.isfile(path):
        # It may have been put there by hand.
        with path.open("rb") as file:
            is_intact = hashlib.file_digest(file, "sha256").hexdigest().startswith(digest)
        if is_intact:
            return path
        raise UserError(
            f"model.weights={name}: {path}: damaged, its sha256 does not begin with {digest}; "
            "delete it to have it fetched again"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"model.weights={name}: cannot make the folder {folder} ({error.strerror}); "
            "TORCH_HOME=DIR in front of the command chooses another"
        ) from error
    rank_zero_only(log.info)("model.weights=%s: fetching %s into %s", name, source.url, folder)
    usual_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)  # torch.hub sets none
    try:
        torch.hub.download_url_to_file(source.url, str(path), digest, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"model.weights={name}: cannot get {source.url} ({reason(error)}); put that file into "
            f"{folder}, or set model.weights=PATH to a file you have, or model.weights=null to "
            "train from scratch"
        ) from error
    finally:
        socket.setdefaulttimeout(usual_timeout)
    return path


def _check(path: Path, shapes: Shapes, where: str) -> dict[str, Tensor]:
    """Those tensors of a file that are used, known to fit; errors open with `where`."""
    try:
        held = load_tensors(path)
    except PermissionError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(
            f"{where}: damaged, or holds more than tensors, which is never loaded ({error})"
        ) from error
    if not _is_state_dict(held):
        raise UserError(f"{where}: not a state dict, which is a dict of plain tensors by name")
    names = list(shapes)[:-2]
    features = [name for name in names if name.startswith("features.")]
    # torchvision fills the classifier of IMAGENET1K_FEATURES with NaN.
    is_known = {name: bool(tensor.float().isfinite().all()) for name, tensor in held.items()}
    is_whole = any(is_known[name] for name in held if name.startswith("classifier."))
    wanted = names if is_whole else features
    missing = [name for name in wanted if name not in held]
    foreign = [name for name in held if name not in shapes]
    if missing or foreign:
        problem = f"lacks {missing[0]}" if missing else f"holds {foreign[0]}, which is not in it"
        raise UserError(f"{where}: not weights of this architecture: {problem}")
    for name in wanted:
        if held[name].shape != shapes[name]:
            raise UserError(
                f"{where}: not weights of this architecture: {name} has shape "
                f"{list(held[name].shape)}, must have {list(shapes[name])}"
            )
        if not is_known[name]:
            raise UserError(f"{where}: {name} has values that are not finite")
    return {name: held[name].float() for name in wanted}


def _is_state_dict(held: Any) -> bool:
    return (
        isinstance(held, dict)
        and bool(held)
        and all(isinstance(k, str) and _is_plain(v) for k, v in held.items())
    )


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_quantized or value.is_meta or value.is_complex())
    )
