"""The table that a sweep ends in."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnist_vision.files import EVALUATION_FILE, JOB_FILE, RESULTS_FILE, read_json

# The directory of a job that began, and its record.
Record = tuple[Path, dict[str, Any]]


def read_records(folder: Path) -> list[Record]:
    """The records of the jobs that began, in their order, with their directories."""
    found = [(path.parent, read_json(path)) for path in folder.rglob(JOB_FILE)]
    return sorted(
        ((where, record) for where, record in found if record.get("version") == 1),
        key=lambda each: (each[1]["number"], each[0].name),
    )


def make_rows(records: list[Record], planned: list[list[str]] | None) -> list[dict[str, str]]:
    """The table: a row a job, a column for each setting that is not the same in all of them.

    Of a grid the jobs are those that are planned; in its directory there may be others', of an
    earlier one.
    """
    if planned is None:
        planned = [record["overrides"] for _, record in records]
    jobs = [(overrides, _newest(overrides, records)) for overrides in planned]
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


def read_figures(folder: Path) -> dict[str, Any]:
    """What a run, or the test of a checkpoint, has in its directory."""
    held = read_json(folder / RESULTS_FILE) or read_json(folder / EVALUATION_FILE)
    figures: dict[str, Any] = held.get("test", {})
    return figures


def _newest(overrides: list[str], records: list[Record]) -> Record | None:
    """The record of a planned job: that of its last run, should what they mean have changed."""
    own = [each for each in records if overrides in each[1]["requests"]]
    return max(own, key=lambda each: os.path.getmtime(each[0] / JOB_FILE), default=None)


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (override.partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}


def _outcome(found: Record | None) -> dict[str, str]:
    """How a job ended, as columns of the table."""
    folder, record = found or (Path(), {"status": "not run", "seconds": None, "reason": None})
    # A job that says it is running, when its sweep has ended, was killed or left behind.
    is_cut_short = record["status"] in ("running", "stopped")
    is_complete = record["status"] == "completed"
    results = read_json(folder / RESULTS_FILE) if is_complete else {}
    test = read_figures(folder) if is_complete else {}
    history = results.get("history", [])
    # Of a resumed job the record has the time since then, the results have all of it.
    seconds = sum(results["seconds"].values()) if results else record["seconds"]
    return {
        "status": "interrupted" if is_cut_short else record["status"],
        "val accuracy": _decimal(max((row["val/accuracy"] for row in history), default=None), 4),
        "test accuracy": _decimal(test.get("accuracy"), 4),
        "test F1": _decimal(test.get("f1"), 4),
        "minutes": _decimal(seconds and seconds / 60, 2),
        "directory": folder.name,
        "reason": record["reason"] or "",
    }


def _decimal(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
