"""Finds runs and reads what they left; what cannot be read is named, and the rest goes on."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mnist_vision.common.errors import UserError
from mnist_vision.runs.directory import JOB_FILE, RESULTS_FILE, RunDirectory
from mnist_vision.runs.predictions import Digits
from mnist_vision.runs.record import Job, Results


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Args:
        folder: Where it lies.
        results: Its results.json.
        targets: `[N]` int64 in 0..9, in the order of the test set.
        preds: `[N]` int64 in 0..9, or `MISSED`.
    """

    folder: Path
    results: Results
    targets: Digits
    preds: Digits

    @property
    def num_mistakes(self) -> int:
        """Test digits that it got wrong."""
        return int((self.preds != self.targets).sum())

    @cached_property
    def figures(self) -> dict[str, float]:
        """What runs are compared by: each a number, by name."""
        results, test = self.results, self.results.test
        return {
            "train_loss": results.train.loss,
            "train_accuracy": results.train.accuracy,
            "val_accuracy": results.best.val_accuracy,
            "test_accuracy": test.accuracy,
            "test_f1": test.f1,
            "num_mistakes": test.num_mistakes,
            "num_parameters": results.num_parameters,
            "fit_seconds": results.seconds.fit,
            "inference_ms": 1000 * results.seconds.test / test.num_images,
        }


@dataclass(frozen=True)
class Incomplete:
    """A job of a sweep that left no results.

    Args:
        folder: Where it lies.
        model: The architecture it was to train, if known.
        overrides: What it was asked for.
        status: "failed", "stopped" or "running".
        reason: Why it did not complete, and what to do about it.
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
        except UserError as error:
            selection.skipped.append(Skipped(folder, str(error)))
    if not selection.runs:
        raise UserError(_nothing_found(arguments, selection))
    done = {(run.folder.parent, *_wanted(run.results.overrides)) for run in selection.runs}
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
    directory = RunDirectory(folder)
    results, predictions = directory.read(Results), directory.read_predictions()
    held = {"num_images": len(predictions.targets), "num_mistakes": predictions.num_mistakes}
    for name, number in held.items():
        stated = getattr(results.test, name)
        if stated != number:
            raise UserError(
                f"test_predictions.npz: holds other predictions than {RESULTS_FILE} was made from: "
                f"{name} is {number}, not {stated}"
            )
    return Run(folder, results, predictions.targets, predictions.preds)


def _read_job(folder: Path) -> Incomplete | None:
    """Reads the record of a job that left no results; None if it was not to train a model."""
    job = RunDirectory(folder).read(Job)
    if job.model is None:
        return None
    if job.status == "completed":
        raise UserError(
            f"{RESULTS_FILE}: is missing, though {JOB_FILE} says that the job completed"
        )
    reason = job.reason or "no reason was recorded"
    if job.status == "running":
        reason = "is still running, or was killed; sweep.resume=DIR of its sweep goes on with it"
    return Incomplete(folder, job.model, job.overrides, job.status, reason)
