"""Find runs and read their results; list the runs that cannot be read."""

import glob
import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mnist_vision.common.errors import UserError
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.ensemble_record import Ensemble
from mnist_vision.runs.file_names import (
    ENSEMBLE_FILE,
    JOB_FILE,
    RESULTS_FILE,
    ROBUSTNESS_FILE,
    TRAINING_FILE,
)
from mnist_vision.runs.predictions import Digits, Predictions
from mnist_vision.runs.record import Job, Results, TestFigures, TrainingResults
from mnist_vision.runs.robustness_record import Robustness
from mnist_vision.runs.settings import command_line, flatten

# Means and axes of larger numbers could overflow. No loss is larger: float32 ends at 3e38.
_LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run.

    Args:
        folder: Its directory.
        results: Its results.json or, with `test=false`, its training.json.
    """

    folder: Path
    results: TrainingResults


@dataclass(frozen=True, eq=False)
class Run(FinishedRun):
    """A finished run that was tested.

    Args:
        folder: Its directory.
        results: Its results.json.
        targets: `[N]` int64 in 0..9, in the order of the test set.
        predictions: `[N]` int64 in 0..9, or `MISSED`.
        robustness: Its robustness.json, if it was measured under a suite of corruptions.
    """

    results: Results
    targets: Digits
    predictions: Digits
    robustness: Robustness | None = None

    @property
    def num_mistakes(self) -> int:
        """Number of test digits whose prediction is wrong."""
        return int((self.predictions != self.targets).sum())

    def curve(self, name: str) -> dict[float, float]:
        """A column of the history by epoch, of those rows that have it.

        The epoch of a row in the middle of an epoch is a fraction, such as 0.5.
        """
        rows = enumerate(self.results.history, 1)
        return {row.get("epoch", number): row[name] for number, row in rows if name in row}


@dataclass(frozen=True, eq=False)
class TestedEnsemble:
    """Networks that were tested together.

    Args:
        folder: The directory of the test.
        record: Its ensemble.json.
        targets: `[N]` int64 in 0..9, in the order of the test set.
    """

    __test__ = False  # pytest would take it for a test

    folder: Path
    record: Ensemble
    targets: Digits


class Incomplete(NamedTuple):
    """A job without results, its status ("failed", "stopped" or "running"), and the reason."""

    folder: Path
    model: str | None
    overrides: list[str]
    status: str
    reason: str


class Skipped(NamedTuple):
    """A folder or file that is not used, and the reason."""

    path: Path
    reason: str


@dataclass
class Selection:
    """The runs and ensembles that were found, jobs without results, and what could not be read."""

    runs: list[Run] = field(default_factory=list)
    untested: list[FinishedRun] = field(default_factory=list)
    ensembles: list[TestedEnsemble] = field(default_factory=list)
    incomplete: list[Incomplete] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def select(arguments: Sequence[str]) -> Selection:
    """Read every run in the folders named.

    Args:
        arguments: Folders of runs, folders with such folders anywhere below, or globs.

    Raises:
        UserError: If a folder does not exist, or no finished run is found.
    """
    selection = Selection()
    for folder in _run_folders(arguments, selection.skipped):
        try:
            if (folder / RESULTS_FILE).exists():
                selection.runs.append(_read_run(folder, selection.skipped))
            elif (folder / TRAINING_FILE).exists():
                selection.untested.append(_read_untested_run(folder))
            elif (folder / ENSEMBLE_FILE).exists():
                selection.ensembles.append(_read_ensemble(folder))
            elif (job := _read_job(folder)) is not None:
                selection.incomplete.append(job)
        except UserError as error:
            selection.skipped.append(Skipped(folder, str(error)))
    if not selection.runs and not selection.untested:
        raise UserError(f"{', '.join(arguments)}: {_why_nothing_found(selection)}")
    # A job may have failed and then completed when the sweep was resumed.
    finished: list[FinishedRun] = [*selection.runs, *selection.untested]
    done = [(run.folder.parent, _request(run.results.overrides)) for run in finished]
    selection.incomplete = [
        job
        for job in selection.incomplete
        if (job.folder.parent, _request(job.overrides)) not in done
    ]
    return selection


def _request(overrides: Sequence[str]) -> list[str]:
    """The overrides that ask for a job, without the one that resumes its sweep."""
    return sorted(override for override in overrides if not override.startswith("sweep.resume="))


def _why_nothing_found(selection: Selection) -> str:
    if selection.skipped:
        first = selection.skipped[0]
        return f"no run that can be read; {first.path}: {first.reason}"
    if selection.incomplete:
        job = selection.incomplete[0]
        return f"no finished run; {job.folder} {job.status}: {job.reason}"
    return (
        f"no finished run: no {RESULTS_FILE} in it or below; train one with {command_line('train')}"
    )


def _run_folders(arguments: Sequence[str], skipped: list[Skipped]) -> list[Path]:
    """Find the folders of runs, ensembles and jobs, sorted and without duplicates."""
    found: dict[Path, Path] = {}
    for argument in arguments:
        # An existing folder is never a pattern, even if its name holds a bracket.
        names = [argument] if os.path.exists(argument) else glob.glob(argument, recursive=True)
        if not names:
            problem = "matches nothing" if glob.has_magic(argument) else "does not exist"
            named = argument or repr(argument)
            raise UserError(f"{named}: {problem}; name folders of runs or sweeps")
        for name in sorted(names):
            is_record = os.path.basename(name) in (RESULTS_FILE, TRAINING_FILE)
            root = os.path.dirname(name) or "." if is_record else name
            walk = os.walk(root, onerror=lambda error: skipped.append(_unreadable(error)))
            for folder, _, files in walk:
                if {RESULTS_FILE, TRAINING_FILE, ENSEMBLE_FILE, JOB_FILE} & set(files):
                    found.setdefault(Path(folder).resolve(), Path(folder))
    return sorted(found.values())


def _unreadable(error: OSError) -> Skipped:
    return Skipped(Path(error.filename), f"cannot be read ({error.strerror})")


def _read_run(folder: Path, skipped: list[Skipped]) -> Run:
    directory = RunDirectory(folder)
    results, predictions = directory.read(Results), directory.read_predictions()
    _check_numbers(results)
    _check_belongs(predictions, results.test, RESULTS_FILE)
    robustness = _read_robustness(directory, results, skipped)
    return Run(folder, results, predictions.targets, predictions.preds, robustness)


def _read_untested_run(folder: Path) -> FinishedRun:
    results = RunDirectory(folder).read(TrainingResults)
    _check_numbers(results)
    return FinishedRun(folder, results)


def _check_numbers(results: TrainingResults) -> None:
    content = results.model_dump(exclude={"seed", "environment", "overrides", "settings"})
    rows = dict(enumerate(results.history, 1))
    _check_size(content | {"history": rows}, results.FILE)


def _read_robustness(
    directory: RunDirectory, results: Results, skipped: list[Skipped]
) -> Robustness | None:
    """Read the figures under corruptions; None if they are missing or cannot be used."""
    path = directory.path / ROBUSTNESS_FILE
    if not path.exists():
        return None
    try:
        robustness = directory.read(Robustness)
        expected = results.test.num_images
        numbers = [test.num_images for test in robustness.corruptions.values()]
        if wrong := [number for number in numbers if number != expected]:
            raise UserError(
                f"{ROBUSTNESS_FILE}: does not belong to {RESULTS_FILE}: num_images is {wrong[0]}, "
                f"not {expected}"
            )
    except UserError as error:
        skipped.append(Skipped(path, str(error)))
        return None
    return robustness


def _read_ensemble(folder: Path) -> TestedEnsemble:
    directory = RunDirectory(folder)
    record, predictions = directory.read(Ensemble), directory.read_predictions()
    _check_size(record.model_dump(exclude={"members"}), ENSEMBLE_FILE)
    _check_belongs(predictions, record.test, ENSEMBLE_FILE)
    return TestedEnsemble(folder, record, predictions.targets)


def _check_belongs(predictions: Predictions, test: TestFigures, name: str) -> None:
    """Check that predictions and the record in the file `name` are of the same test."""
    counted = {"num_images": len(predictions.targets), "num_mistakes": predictions.num_mistakes}
    for key, number in counted.items():
        stated = getattr(test, key)
        if stated != number:
            raise UserError(
                f"test_predictions.npz: does not belong to {name}: {key} is {number}, not {stated}"
            )


def _check_size(content: dict[str, Any], name: str) -> None:
    for key, value in flatten(content).items():
        if isinstance(value, int | float) and abs(value) > _LARGEST:
            given = reprlib.repr(value)  # a whole number may be a book
            raise UserError(f"{name}: {key}={given}: must be at most {_LARGEST:g}")


def _read_job(folder: Path) -> Incomplete | None:
    """Read the record of a job without results; None if the job trains no model."""
    job = RunDirectory(folder).read(Job)
    if job.model is None:
        return None
    if job.status == "completed":
        raise UserError(f"{RESULTS_FILE}: is missing, but {JOB_FILE} says that the job completed")
    reason = job.reason or "no reason was recorded"
    if job.status == "running":
        reason = "is still running or was killed; resume its sweep with sweep.resume=DIR"
    return Incomplete(folder, job.model, job.overrides, job.status, reason)
