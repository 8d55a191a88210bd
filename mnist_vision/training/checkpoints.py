"""Write checkpoints atomically; read them without running code."""

import os
import shlex
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown, write_atomically
from mnist_vision.common.tensor_files import load_tensors, reason
from mnist_vision.models import find_architecture
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.directory import find_checkpoint
from mnist_vision.runs.old_names import rename_arguments
from mnist_vision.runs.record import RunSettings
from mnist_vision.runs.settings import quoted

# The key of a checkpoint that holds the settings of its run.
SETTINGS_KEY = "run"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its target, then rename it; read intact checkpoints only.

    Lightning's own writes to $TMPDIR and copies: a kill or a full disk leaves half a file.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Save to `path`; the old file stays until the new one is complete and on disk.

        Raises:
            UserError: If it cannot be written, for example because the disk is full.
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
        """Load with `read_checkpoint`, always `weights_only`.

        Raises:
            UserError: If the file is not an intact checkpoint of this program.
        """
        return read_checkpoint(path)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of this program onto the CPU.

    The checksums of the file are verified first. Only tensors and plain values are unpickled.

    Raises:
        UserError: If the file is missing, corrupt, or not a checkpoint of this program.
    """
    path = find_checkpoint(path)
    not_ours = f"ckpt_path={shown(path)}: corrupt, or not a checkpoint of this program"
    try:
        checkpoint = load_tensors(path)
    except PermissionError as error:
        raise UserError(f"ckpt_path={shown(path)}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{not_ours} ({error})") from error
    required = {"architecture", "hyper_parameters", "state_dict"}
    if not isinstance(checkpoint, dict) or not required <= checkpoint.keys():
        raise UserError(f"{not_ours} (it does not say which architecture it holds)")
    return checkpoint


def load_classifier(path: str | os.PathLike[str]) -> DigitClassifier:
    """Rebuild the network that a checkpoint holds, on the CPU, in evaluation mode.

    Raises:
        UserError: If the file is missing, corrupt, or not a checkpoint of this program.
    """
    return rebuild_classifier(read_checkpoint(path), path)


def rebuild_classifier(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> DigitClassifier:
    """Rebuild a network from the contents of a checkpoint, on the CPU, in evaluation mode.

    Args:
        checkpoint: Its contents.
        path: Its file, for the error.

    Raises:
        UserError: If its weights do not fit its architecture.
    """
    model_class = find_architecture(checkpoint["architecture"])
    try:
        model = model_class(**rename_arguments(checkpoint["hyper_parameters"]))
        model.load_state_dict(checkpoint["state_dict"])
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"ckpt_path={shown(path)}: does not fit {checkpoint['architecture']} ({reason(error)})"
        ) from error
    return model.eval()


def add_settings(checkpoint: dict[str, Any], settings: RunSettings) -> None:
    """Put the settings of its run into a checkpoint."""
    checkpoint[SETTINGS_KEY] = settings.model_dump()


def stored_settings(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> RunSettings:
    """Read the settings of its run from a checkpoint.

    Args:
        checkpoint: Its contents.
        path: Its file, for the error.

    Raises:
        UserError: If they are damaged, or missing as in checkpoints of earlier versions.
    """
    if SETTINGS_KEY not in checkpoint:
        raise UserError(
            f"ckpt_path={shown(path)}: was written by an earlier version and does not store the "
            "settings of its run: data, optimizer, scheduler, trainer and callbacks cannot be "
            "restored, so training cannot be resumed; test it with python -m mnist_vision.evaluate "
            f"{shlex.quote(f'ckpt_path={quoted(shown(path))}')} data=NAME"
        )
    return RunSettings.parse(checkpoint[SETTINGS_KEY], f"ckpt_path={shown(path)}")


def read_resumable(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint that training can go on from.

    Raises:
        UserError: If the file is missing or corrupt, or holds weights alone.
    """
    checkpoint = read_checkpoint(path)
    try:
        epochs_done(checkpoint)
        is_whole = all(checkpoint["callbacks"].values()) and bool(checkpoint["callbacks"])
        is_whole = is_whole and bool(checkpoint["optimizer_states"][0].keys())
    except (AttributeError, IndexError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise UserError(
            f"ckpt_path={shown(path)}: holds weights without the state of training; "
            "go on from the last.ckpt of a run"
        )
    return checkpoint


def epochs_done(checkpoint: dict[str, Any]) -> int:
    """Count the epochs that the network of a checkpoint was trained for."""
    epochs: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return epochs


def history_rows(checkpoint: dict[str, Any]) -> list[dict[str, float]]:
    """Get the rows of history that a checkpoint holds; the last one is of its weights."""
    rows: list[dict[str, float]] = checkpoint["callbacks"]["History"]["rows"]
    return rows
