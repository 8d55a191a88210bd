"""Write checkpoints atomically; read them without running code."""

import inspect
import os
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from mnist_vision.common.errors import UserError, first_line
from mnist_vision.common.files import shown, write_atomically
from mnist_vision.common.paths import shortened
from mnist_vision.common.tensor_files import (
    find_misfit,
    find_not_finite,
    is_state_dict,
    load_tensors,
)
from mnist_vision.data.constants import NUM_CLASSES
from mnist_vision.models import find_architecture
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.calibration_record import TemperatureScaling
from mnist_vision.runs.directory import find_checkpoint
from mnist_vision.runs.old_names import rename_arguments
from mnist_vision.runs.record import RunSettings
from mnist_vision.runs.settings import command_line
from mnist_vision.training.training_state import Network, parse_training_state

# The key of the settings of the run in a checkpoint.
SETTINGS_KEY = "run"
_CALIBRATION_KEY = "calibration"


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
            OSError: If it cannot be written, for example because the disk is full; it names `path`.
        """
        with write_atomically(path) as file:
            torch.save(checkpoint, file)

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
    if path.suffix.lower() == ".onnx":
        raise UserError(
            f"ckpt_path={shown(path)}: is an exported network, which cannot be trained or exported "
            "again; give a .ckpt"
        )
    if path.suffix.lower() == ".pt2":
        raise UserError(f"ckpt_path={shown(path)}: is for torch.export.load alone; give a .ckpt")
    not_ours = f"ckpt_path={shown(path)}: corrupt, or not a checkpoint of this program"
    try:
        checkpoint = load_tensors(path)
    except OSError as error:
        raise UserError(f"ckpt_path={shown(path)}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{not_ours}: {error}") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{not_ours}: it is not a dictionary")
    Network.parse(checkpoint, not_ours)
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
        UserError: If its weights do not fit its architecture, or are not finite.
    """
    model_class = find_architecture(checkpoint["architecture"])
    arguments = rename_arguments(checkpoint["architecture"], checkpoint["hyper_parameters"])
    foreign = arguments.keys() - inspect.signature(model_class).parameters
    try:
        if foreign:
            raise TypeError(f"{shortened(min(foreign))} is none of its arguments")
        model = model_class(**arguments)
    except Exception as error:  # of any kind, as the arguments may be anything
        is_plain = isinstance(error, TypeError | ValueError)
        problem = first_line(error) if is_plain else "they give no network that fits into memory"
        raise UserError(
            f"ckpt_path={shown(path)}: cannot make {checkpoint['architecture']} from its "
            f"hyper_parameters: {problem}"
        ) from error
    check_weights(checkpoint, "state_dict", model, path)
    model.load_state_dict(checkpoint["state_dict"])
    scaling = checkpoint.get(_CALIBRATION_KEY)
    if scaling is not None:  # as in checkpoints of earlier versions, and before training has ended
        model.temperature, model.threshold = scaling["temperature"], scaling.get("threshold")
    return model.eval()


def check_weights(
    checkpoint: dict[str, Any], key: str, model: DigitClassifier, path: str | os.PathLike[str]
) -> None:
    """Check that weights in a checkpoint fit a network, and are finite.

    Args:
        checkpoint: Its contents.
        key: The weights in it.
        model: The network.
        path: The file of the checkpoint, for the error.

    Raises:
        UserError: Naming the first tensor that is missing, foreign or wrong.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights, where = checkpoint.get(key), f"ckpt_path={shown(path)}: {key}"
    if not is_state_dict(weights):
        raise UserError(f"{where}: is not a dictionary of plain tensors by name")
    assert isinstance(weights, dict)
    problem = find_misfit(weights, shapes)
    if problem is not None:
        last = list(shapes)[-1]  # of most networks the bias of the classes
        held = tuple(weights[last].shape) if last in weights else shapes[last]
        if shapes[last] == (NUM_CLASSES,) != held and len(held) == 1:
            problem += f"; it is for {held[0]} classes, MNIST has {NUM_CLASSES}"
        raise UserError(f"{where}: does not fit {model.architecture}: {problem}")
    problem = find_not_finite(weights)
    if problem is not None:
        raise UserError(f"{where}: {problem}; give the checkpoint of another epoch")


def add_calibration(
    checkpoint: dict[str, Any], path: str | os.PathLike[str], scaling: TemperatureScaling
) -> None:
    """Put temperature and threshold into a checkpoint, and write it to its file.

    Raises:
        OSError: If it cannot be written; the old file stays.
    """
    checkpoint[_CALIBRATION_KEY] = scaling.model_dump()
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)


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
            "restored, so training cannot be resumed; test it with "
            f"{command_line('evaluate', ckpt_path=path)} data=NAME"
        )
    if not isinstance(checkpoint[SETTINGS_KEY], dict):
        raise UserError(f"ckpt_path={shown(path)}: its settings must be a dictionary")
    try:
        return RunSettings.parse(checkpoint[SETTINGS_KEY], f"ckpt_path={shown(path)}")
    except RecursionError as error:
        raise UserError(f"ckpt_path={shown(path)}: its settings are nested too deeply") from error


def read_resumable(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint that training can go on from, as far as the file shows.

    `check_resumable` compares it with the run.

    Raises:
        UserError: If the file is missing or corrupt, or the state of training is not complete or
            from within an epoch.
    """
    checkpoint = read_checkpoint(path)
    state = parse_training_state(checkpoint, name_unresumable(path))
    if state.is_within_epoch:
        raise UserError(
            f"ckpt_path={shown(path)}: was written within epoch {state.num_epochs + 1}, and "
            "training goes on from whole epochs alone; give the last.ckpt of its run"
        )
    return checkpoint


def name_unresumable(path: str | os.PathLike[str]) -> str:
    """Write the beginning of an error about a checkpoint that training cannot go on from."""
    return (
        f"ckpt_path={shown(path)}: holds weights without the whole state of training, which an "
        "intact last.ckpt of a run has"
    )


def epochs_done(checkpoint: dict[str, Any]) -> int:
    """Count the epochs that the network of a checkpoint was trained for."""
    epochs: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return epochs


def history_rows(checkpoint: dict[str, Any]) -> list[dict[str, float]]:
    """Get the rows of history that a checkpoint holds; the last one is of its weights."""
    rows: list[dict[str, float]] = checkpoint["callbacks"]["History"]["rows"]
    return rows


def read_val_accuracy(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> float:
    """Read the validation accuracy of the weights in a checkpoint.

    Args:
        checkpoint: Its contents.
        path: Its file, for the error.

    Raises:
        UserError: If it does not hold it.
    """
    try:
        accuracy = history_rows(checkpoint)[-1]["val/accuracy"]
    except (KeyError, IndexError, TypeError):
        accuracy = None
    if not isinstance(accuracy, float | int):
        raise UserError(
            f"ckpt_path={shown(path)}: does not hold the validation accuracy of its weights; give "
            "the best.ckpt of a run"
        )
    return accuracy
