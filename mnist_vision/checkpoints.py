"""Checkpoints that are whole, and that can do nothing but hold numbers."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from mnist_vision.errors import UserError
from mnist_vision.files import write_atomically
from mnist_vision.models import find_architecture
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.torch_files import load_tensors, reason


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target and renames it; reads none that is not intact.

    Lightning's own writes through $TMPDIR and a copy, which a kill or a full disk cuts short.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Saves to `path`; what is there stays until the new file is complete and on disk.

        Raises:
            UserError: If it cannot be written, because the disk is full, say.
        """
        try:
            with write_atomically(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{path}: cannot write the checkpoint ({reason(error)}); "
                "an earlier one, if there is one, is intact"
            ) from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Loads with `read_checkpoint`: `weights_only` whatever is asked.

        Raises:
            UserError: If the file is not an intact checkpoint of this program.
        """
        return read_checkpoint(path)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a checkpoint of this program onto the CPU.

    Every byte is checked against the file's own checksums first, and nothing but tensors and
    plain values is ever unpickled.

    Raises:
        UserError: If the file is missing, corrupt, or not a checkpoint of this program.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"ckpt_path={path}: no such file; give a .ckpt file of a run")
    not_ours = f"ckpt_path={path}: corrupt, or not a checkpoint of this program"
    try:
        checkpoint = load_tensors(path)
    except PermissionError as error:
        raise UserError(f"ckpt_path={path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{not_ours} ({error})") from error
    required = {"architecture", "hyper_parameters", "state_dict"}
    if not isinstance(checkpoint, dict) or not required <= checkpoint.keys():
        raise UserError(f"{not_ours} (it does not say which architecture it holds)")
    return checkpoint


def load_classifier(path: str | os.PathLike[str]) -> DigitClassifier:
    """Rebuilds the network that a checkpoint holds, on the CPU, in evaluation mode.

    Raises:
        UserError: If the file is missing, corrupt, or not a checkpoint of this program.
    """
    checkpoint = read_checkpoint(path)
    model_class = find_architecture(checkpoint["architecture"])
    try:
        model = model_class(**checkpoint["hyper_parameters"])
        model.load_state_dict(checkpoint["state_dict"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"ckpt_path={path}: does not fit {checkpoint['architecture']} ({reason(error)})"
        ) from error
    return model.eval()


def check_resumable(path: str | os.PathLike[str], model: DigitClassifier) -> int:
    """Checks that the training of `model` can continue from the checkpoint.

    Returns:
        The number of epochs that it has been trained for.

    Raises:
        UserError: If the file is not usable, or holds another architecture or other
            hyperparameters.
    """
    checkpoint = read_checkpoint(path)
    held = checkpoint["architecture"]
    if held != model.architecture:
        raise UserError(
            f"ckpt_path={path}: holds {held}, not {model.architecture}; resume with model={held}"
        )
    differences = [
        f"{name}={value!r} instead of {model.hparams.get(name)!r}"
        for name, value in checkpoint["hyper_parameters"].items()
        if model.hparams.get(name) != value
    ]
    if differences:
        raise UserError(
            f"ckpt_path={path}: was trained with {', '.join(differences)}; "
            "give the same model.* settings to resume"
        )
    if "loops" not in checkpoint:
        raise UserError(f"ckpt_path={path}: holds weights only; resume from a last.ckpt")
    epochs_done: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return epochs_done
