"""Make the table of a sweep: one row for each job."""

import os
from collections.abc import Sequence
from pathlib import Path

from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.file_names import JOB_FILE
from mnist_vision.runs.record import Job, Results
from mnist_vision.sweeps.job import find_results

# A job that started: its directory and its record.
StartedJob = tuple[RunDirectory, Job]


def read_jobs(folder: Path) -> list[StartedJob]:
    """Read the records of the jobs that started, in the order of their numbers."""
    directories = [RunDirectory(path.parent) for path in folder.rglob(JOB_FILE)]
    found = [(directory, directory.find(Job)) for directory in directories]
    return sorted(
        ((directory, job) for directory, job in found if job is not None),
        key=lambda each: (each[1].number, each[0].path.name),
    )


def make_rows(started: list[StartedJob], planned: list[list[str]] | None) -> list[dict[str, str]]:
    """Make a row for each job, with a column for each setting that varies.

    Args:
        started: The jobs that started.
        planned: The overrides of each job of a grid; jobs of an earlier grid get no row. None for a
            search: each job that started has a row.
    """
    if planned is None:
        planned = [job.overrides for _, job in started]
    settings = [dict(each.split("=", 1) for each in overrides) for overrides in planned]
    keys = list(dict.fromkeys(key for one in settings for key in one))
    varied = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    return [
        {"job": str(number)}
        | {key: one.get(key, "") for key in varied}
        | _outcome(_find_newest(overrides, started))
        for number, (overrides, one) in enumerate(zip(planned, settings, strict=True))
    ]


def shorten(row: dict[str, str]) -> dict[str, str]:
    """Shorten a row for the terminal: no directory, no long reasons or numbers."""
    reason = row["reason"]
    short = {key: _round(value) for key, value in row.items() if key != "directory"}
    return short | {"reason": reason if len(reason) <= 60 else f"{reason[:57]}..."}


def _round(value: str) -> str:
    try:
        return f"{float(value):.4g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value


def _find_newest(overrides: Sequence[str], started: list[StartedJob]) -> StartedJob | None:
    """Find the newest record of a planned job; older ones may have had other default settings."""
    found = [each for each in started if overrides in each[1].requests]
    return max(found, key=lambda each: os.path.getmtime(each[0].path / JOB_FILE), default=None)


def _outcome(started: StartedJob | None) -> dict[str, str]:
    """Make the columns that show how a job ended."""
    names = ("status", "val accuracy", "test accuracy", "test F1", "minutes", "directory", "reason")
    row = dict.fromkeys(names, "") | {"status": "not run"}
    if started is None:
        return row
    directory, job = started
    row |= {"status": job.status, "directory": directory.path.name, "reason": job.reason or ""}
    seconds = job.seconds
    if job.status in ("running", "stopped"):  # "running", but the sweep has ended: it was killed
        row["status"] = "interrupted"
    if job.status == "completed":
        results, test = find_results(directory), directory.find_test()
        if results is not None:
            row["val accuracy"] = f"{results.best.val_accuracy:.4f}"
            # The record of a resumed job has the time since then, its results have the total.
            seconds = results.seconds.fit
            if isinstance(results, Results):
                test, seconds = results.test, seconds + results.seconds.test
        if test is not None:
            row |= {"test accuracy": f"{test.accuracy:.4f}", "test F1": f"{test.f1:.4f}"}
    if seconds is not None:
        row["minutes"] = f"{seconds / 60:.2f}"
    return row
