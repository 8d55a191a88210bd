"""Finds runs and reads what they left; what cannot be read is named, and the rest goes on."""

import glob
import json
import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from mnist_vision.data.mnist import NUM_CLASSES
from mnist_vision.errors import FieldError, UserError, check_list, check_real, check_whole
from mnist_vision.files import JOB_FILE, PREDICTIONS_FILE, RESULTS_FILE

VERSION = 1
# The prediction for what a network found nothing in.
MISSED = -1

Digits = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Args:
        folder: Where it lies.
        results: Its results.json, checked.
        targets: `[N]` int64 in 0..9, in the order of the test set.
        preds: `[N]` int64 in 0..9, or `MISSED`.
    """

    folder: Path
    results: dict[str, Any]
    targets: Digits
    preds: Digits

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        name: str = self.results["architecture"]
        return name

    @property
    def seed(self) -> int:
        """The run's seed."""
        seed: int = self.results["seed"]
        return seed

    @property
    def settings(self) -> dict[str, Any] | None:
        """What it was asked to do, nested; None for a run that did not keep it."""
        return self.results.get("settings")

    @property
    def overrides(self) -> list[str]:
        """What its command line said."""
        overrides: list[str] = self.results.get("overrides", [])
        return overrides

    @property
    def history(self) -> list[dict[str, float]]:
        """A row an epoch."""
        rows: list[dict[str, float]] = self.results["history"]
        return rows

    @property
    def num_mistakes(self) -> int:
        """Test digits that it got wrong."""
        return int((self.preds != self.targets).sum())

    @cached_property
    def figures(self) -> dict[str, float]:
        """What runs are compared by: each a number, by name."""
        results, test, seconds = (self.results, self.results["test"], self.results["seconds"])
        return {
            "train_loss": results["train"]["loss"],
            "train_accuracy": results["train"]["accuracy"],
            "val_accuracy": max(row["val/accuracy"] for row in self.history),
            "test_accuracy": test["accuracy"],
            "test_f1": test["f1"],
            "num_mistakes": test["num_mistakes"],
            "num_parameters": results["num_parameters"],
            "fit_seconds": seconds["fit"],
            "inference_ms": 1000 * seconds["test"] / test["num_images"],
        }


@dataclass(frozen=True)
class Incomplete:
    """A job of a sweep that left no results.

    Args:
        folder: Where it lies.
        model: The architecture it was to train, if known.
        overrides: What it was asked for.
        status: "failed", "stopped" or "running".
        reason: What came between, and what to do about it.
    """

    folder: Path
    model: str | None
    overrides: list[str]
    status: str
    reason: str


@dataclass(frozen=True)
class Skipped:
    """Something that could not be read, or does not count.

    Args:
        path: The folder or file.
        reason: Why.
    """

    path: Path
    reason: str


@dataclass
class Selection:
    """What was found."""

    runs: list[Run] = field(default_factory=list)
    incomplete: list[Incomplete] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def select(arguments: Sequence[str]) -> Selection:
    """Reads every run in the folders named.

    Args:
        arguments: Folders of runs, folders with such folders anywhere below, or globs.

    Raises:
        UserError: If a folder does not exist, or no finished run is found.
    """
    selection = Selection()
    for folder in _run_folders(arguments, selection.skipped):
        try:
            if (folder / RESULTS_FILE).exists():
                selection.runs.append(_read_run(folder))
            elif (job := _read_job(folder)) is not None:
                selection.incomplete.append(job)
        except (UserError, FieldError) as error:
            selection.skipped.append(Skipped(folder, str(error)))
    if not selection.runs:
        raise UserError(_nothing_found(arguments, selection))
    done = {(run.folder.parent, *_wanted(run.overrides)) for run in selection.runs}
    selection.incomplete = [
        job
        for job in selection.incomplete
        # What failed with one file of weights, say, may have gone well with the next.
        if (job.folder.parent, *_wanted(job.overrides)) not in done
    ]
    return selection


def _wanted(overrides: Sequence[str]) -> list[str]:
    """Overrides without that which has a sweep go on."""
    return sorted(override for override in overrides if not override.startswith("sweep.resume="))


def _nothing_found(arguments: Sequence[str], selection: Selection) -> str:
    looked = ", ".join(arguments)
    unfinished = selection.incomplete
    if selection.skipped:
        first = selection.skipped[0]
        return f"{looked}: no run that can be read; {first.path}: {first.reason}"
    if unfinished:
        first_job = unfinished[0]
        return (
            f"{looked}: no finished run; {first_job.folder} {first_job.status}: {first_job.reason}"
        )
    return (
        f"{looked}: no finished run (a folder with {RESULTS_FILE}) in or below; "
        "make one with python -m mnist_vision.train"
    )


def _run_folders(arguments: Sequence[str], unreadable: list[Skipped]) -> list[Path]:
    """The folders of runs and jobs, in order, each once however often it is named."""
    found: dict[Path, Path] = {}
    for argument in arguments:
        # A folder whose own name holds a bracket is no pattern.
        names = [argument] if os.path.exists(argument) else glob.glob(argument, recursive=True)
        if not names:
            what = "matches nothing" if glob.has_magic(argument) else "does not exist"
            raise UserError(f"{argument or repr(argument)}: {what}; name folders of runs or sweeps")
        for name in sorted(names):
            root = os.path.dirname(name) or "." if os.path.basename(name) == RESULTS_FILE else name
            walk = os.walk(root, onerror=lambda error: unreadable.append(_unreadable(error)))
            for folder, _, files in walk:
                if {RESULTS_FILE, JOB_FILE} & set(files):
                    found.setdefault(Path(folder).resolve(), Path(folder))
    return sorted(found.values())


def _unreadable(error: OSError) -> Skipped:
    return Skipped(Path(error.filename), f"cannot be read ({error.strerror})")


def _read_run(folder: Path) -> Run:
    try:
        results = _read_json(folder / RESULTS_FILE)
        _check_results(results)
    except FieldError as error:
        # A value of the wrong type may be a book.
        shown = FieldError(error.field, reprlib.repr(error.value), error.allowed)
        raise UserError(f"{RESULTS_FILE}: {shown}") from error
    targets, preds = _read_predictions(folder / PREDICTIONS_FILE)
    run = Run(folder, results, targets, preds)
    for name, held in (("num_images", len(targets)), ("num_mistakes", run.num_mistakes)):
        stated = results["test"][name]
        if stated != held:
            raise UserError(
                f"{PREDICTIONS_FILE}: holds other predictions than {RESULTS_FILE} was made from: "
                f"{name} is {held}, not {stated}"
            )
    return run


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = _printable(json.loads(path.read_bytes()))
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name}: is damaged, no JSON") from error
    if not isinstance(content, dict):
        raise UserError(f"{path.name}: is damaged, no JSON object")
    version = content.get("version")
    if version != VERSION:
        raise UserError(f"{path.name}: version={reprlib.repr(version)}: must be {VERSION}")
    return content


def _printable(node: Any) -> Any:
    """The same without control characters, which could rewrite a terminal, and half characters."""
    if isinstance(node, dict):
        return {_printable(key): _printable(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_printable(value) for value in node]
    if isinstance(node, str) and not node.isprintable():
        return "".join(c if c.isprintable() else " " for c in node)
    return node


def _check_results(results: dict[str, Any]) -> None:
    """Raises `FieldError` unless everything that a comparison reads is there and of its type."""
    _check_text("architecture", results.get("architecture"))
    if results.get("status") != "completed":
        raise FieldError("status", results.get("status"), "completed")
    check_whole("seed", results.get("seed"), 0)
    for name in ("num_parameters", "num_trainable_parameters"):
        check_whole(name, results.get(name), 0)
    if results.get("weights") is not None:
        _check_text("weights", results["weights"])
    history = results.get("history")
    check_list("history", history, 1, 1_000_000, "rows, one an epoch")
    for number, row in enumerate(history, 1):  # type: ignore[arg-type]
        _check_numbers(f"history row {number}", row, "train/loss")
        _check_shares(f"history row {number}", row, "train/accuracy", "val/accuracy")
    _check_numbers("train", results.get("train"), "loss")
    _check_shares("train", results.get("train"), "accuracy")
    test = results.get("test")
    _check_shares("test", test, "accuracy", "f1")
    _check_numbers("test", test, *test)  # type: ignore[misc]
    check_whole("test.num_images", test.get("num_images"), 1)  # type: ignore[union-attr]
    check_whole("test.num_mistakes", test.get("num_mistakes"), 0)  # type: ignore[union-attr]
    _check_numbers("seconds", results.get("seconds"), "fit", "test")
    _check_object("environment", results.get("environment"))
    overrides = results.get("overrides", [])
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise FieldError("overrides", overrides, "a list of strings")
    if results.get("settings") is not None:
        _check_object("settings", results["settings"])


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise FieldError(name, value, "a name")


def _check_object(name: str, value: object) -> None:
    if not isinstance(value, dict):
        raise FieldError(name, value, "an object")


def _check_numbers(name: str, row: Any, *keys: str) -> None:
    _check_object(name, row)
    for key in keys:
        check_real(f"{name}.{key}", row.get(key), 0)


def _check_shares(name: str, row: Any, *keys: str) -> None:
    _check_object(name, row)
    for key in keys:
        check_real(f"{name}.{key}", row.get(key), 0, 1)


def _read_predictions(path: Path) -> tuple[Digits, Digits]:
    """Reads targets and predictions; scores are checked, so that a damaged file is found."""
    if not path.exists():
        raise UserError(f"{path.name}: is missing; without it no two runs can be compared")
    try:
        # Opened here, for numpy leaves a damaged file open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, NpzFile):
                raise ValueError("no archive")
            targets, preds, scores = (loaded[name] for name in ("targets", "preds", "scores"))
    # Archive, decompressor and numpy each raise errors of their own, MemoryError among them.
    except Exception as error:
        raise UserError(f"{path.name}: is damaged ({type(error).__name__})") from error
    num_images = targets.size
    shapes = {
        "targets": (num_images,),
        "preds": (num_images,),
        "scores": (num_images, NUM_CLASSES),
    }
    for (name, shape), array in zip(shapes.items(), (targets, preds, scores), strict=True):
        kind = np.floating if name == "scores" else np.integer
        if array.shape != shape or not np.issubdtype(array.dtype, kind):
            raise UserError(
                f"{path.name}: {name} is {array.dtype} of shape {list(array.shape)}; must be "
                "targets [N] and preds [N] int64, scores [N, 10] float32"
            )
    for name, array, lowest in (("targets", targets, 0), ("preds", preds, MISSED)):
        if not ((array >= lowest) & (array < NUM_CLASSES)).all():
            raise UserError(
                f"{path.name}: {name} holds values outside {lowest} to {NUM_CLASSES - 1}"
            )
    return targets.astype(np.int64), preds.astype(np.int64)


def _read_job(folder: Path) -> Incomplete | None:
    """Reads the record of a job that left no results; None if it was not to train a model."""
    job = _read_json(folder / JOB_FILE)
    if job.get("model") is None:
        return None
    model, status, reason = (job.get(name) for name in ("model", "status", "reason"))
    overrides = job.get("overrides")
    is_sound = (
        isinstance(overrides, list)
        and all(isinstance(o, str) for o in overrides)
        and all(isinstance(value, str | None) for value in (model, reason))
    )
    if not is_sound or status not in ("running", "completed", "failed", "stopped"):
        raise UserError(f"{JOB_FILE}: is damaged")
    if status == "completed":
        raise UserError(
            f"{RESULTS_FILE}: is missing, though {JOB_FILE} says that the job completed"
        )
    if status == "running":
        reason = "is still running, or was killed; sweep.resume=DIR of its sweep goes on with it"
    return Incomplete(
        folder, model, overrides or [], str(status), reason or "no reason was recorded"
    )
