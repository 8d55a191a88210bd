"""The table that a sweep ends in."""

import os
from collections.abc import Sequence
from pathlib import Path

from mnist_vision.runs.directory import JOB_FILE, RunDirectory
from mnist_vision.runs.record import Job, TestFigures

# The directory of a job that began, and its record.
Begun = tuple[RunDirectory, Job]


def read_jobs(folder: Path) -> list[Begun]:
    """The records of the jobs that began, in their order, with their directories."""
    directories = [RunDirectory(path.parent) for path in folder.rglob(JOB_FILE)]
    found = [(directory, directory.find_job()) for directory in directories]
    return sorted(
        ((directory, job) for directory, job in found if job is not None),
        key=lambda each: (each[1].number, each[0].path.name),
    )


def make_rows(begun: list[Begun], planned: list[list[str]] | None) -> list[dict[str, str]]:
    """The table: a row a job, a column for each setting that is not the same in all of them.

    Of a grid the jobs are those that are planned; in its directory there may be others', of an
    earlier one.
    """
    if planned is None:
        planned = [job.overrides for _, job in begun]
    jobs = [(overrides, _newest(overrides, begun)) for overrides in planned]
    settings = [_by_key(overrides) for overrides, _ in jobs]
    keys = list(dict.fromkeys(key for one in settings for key in one))
    varied = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    return [
        {"job": str(number)} | {key: one.get(key, "") for key in varied} | _outcome(found)
        for number, (one, (_, found)) in enumerate(zip(settings, jobs, strict=True))
    ]


def shortened(row: dict[str, str]) -> dict[str, str]:
    """A row for the terminal, whose lines would break: no directory, no long reason or number."""
    reason = row["reason"]
    short = {key: _rounded(value) for key, value in row.items() if key != "directory"}
    return short | {"reason": reason if len(reason) <= 60 else f"{reason[:57]}..."}


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.4g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value


def _newest(overrides: list[str], begun: list[Begun]) -> Begun | None:
    """The record of a planned job: that of its last run, should what they mean have changed."""
    own = [each for each in begun if overrides in each[1].requests]
    return max(own, key=lambda each: os.path.getmtime(each[0].path / JOB_FILE), default=None)


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (override.partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}


def _outcome(found: Begun | None) -> dict[str, str]:
    """How a job ended, as columns of the table."""
    if found is None:
        return _columns("not run")
    directory, job = found
    if job.status != "completed":
        # A job that says it is running, when its sweep has ended, was killed or left behind.
        is_cut_short = job.status in ("running", "stopped")
        status = "interrupted" if is_cut_short else job.status
        return _columns(status, directory.path.name, job.reason, job.seconds)
    results, test = directory.find_results(), directory.find_test()
    # Of a resumed job the record has the time since then, the results have all of it.
    seconds = results.seconds.fit + results.seconds.test if results is not None else job.seconds
    return _columns(
        job.status,
        directory.path.name,
        job.reason,
        seconds,
        results.best.val_accuracy if results is not None else None,
        test,
    )


def _columns(
    status: str,
    directory: str = "",
    reason: str | None = None,
    seconds: float | None = None,
    val_accuracy: float | None = None,
    test: TestFigures | None = None,
) -> dict[str, str]:
    return {
        "status": status,
        "val accuracy": _decimal(val_accuracy, 4),
        "test accuracy": _decimal(test.accuracy if test is not None else None, 4),
        "test F1": _decimal(test.f1 if test is not None else None, 4),
        "minutes": _decimal(seconds and seconds / 60, 2),
        "directory": directory,
        "reason": reason or "",
    }


def _decimal(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
