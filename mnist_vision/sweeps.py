"""Sweeps: jobs that fail alone, are never run twice, and end in one table.

The process of the sweep makes a `Sweep`; the process of a job, which may be another one on another
machine, calls `run_job`. They share the sweep's directory, and nothing else.
"""

import csv
import io
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from mnist_vision.errors import Stopped, UserError
from mnist_vision.files import (
    EVALUATION_FILE,
    JOB_FILE,
    RESULTS_FILE,
    own_folder,
    write_atomically,
    write_json,
)
from mnist_vision.memory import release_memory
from mnist_vision.settings import settings_of

SWEEP_FILE = "sweep.json"
TABLE_FILE = "sweep"
RESUME = "sweep.resume"

log = logging.getLogger(__name__)


class FailedJob:
    """What a job that failed returns in place of its value.

    An exception would be kept to the end of the sweep by Hydra, and by it the memory that the job
    held. A search that asks for the value gets an error, and counts the job as failed.

    Args:
        reason: What it failed of, in one line.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __float__(self) -> float:
        raise RuntimeError(self.reason)


def run_job(
    task: Callable[[DictConfig], Any],
    config: DictConfig,
    explain: Callable[[BaseException], str],
) -> Any:
    """Runs one job of a sweep, unless its directory holds the results of its settings.

    One that was interrupted goes on from its last checkpoint; one that another process is running
    is waited for. How it ends is kept in `job.json`.

    Args:
        task: What to do.
        config: The job's configuration.
        explain: Says in one line why the job failed.

    Returns:
        What the task returns, now or earlier; a `FailedJob` if it failed.

    Raises:
        Stopped: If a signal stopped it.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    with FileLock(folder / ".job.lock"):
        return _run_job(task, config, explain, folder)


def _run_job(
    task: Callable[[DictConfig], Any],
    config: DictConfig,
    explain: Callable[[BaseException], str],
    folder: Path,
) -> Any:
    earlier = read_json(folder / JOB_FILE)
    overrides = _own_overrides(_unresolved(HydraConfig.get().overrides.task))
    others = [each for each in earlier.get("requests", []) if each != overrides]
    record: dict[str, Any] = {
        "version": 1,
        "number": HydraConfig.get().job.num,
        "model": HydraConfig.get().runtime.choices.get("model"),
        "overrides": overrides,
        # All that asked for these settings, in whatever words.
        "requests": [*others, overrides],
        "status": "running",
        "reason": None,
        "seconds": None,
    }
    results = read_json(folder / RESULTS_FILE)
    if results.get("settings") == settings_of(config):
        record |= {"status": "completed", "seconds": earlier.get("seconds")}
        write_json(folder / JOB_FILE, record)
        log.info("%s, before", _line(record, folder))
        return max(row["val/accuracy"] for row in results["history"])
    last = folder / "checkpoints" / "last.ckpt"
    if last.exists():
        config.ckpt_path = str(last)
    write_json(folder / JOB_FILE, record)
    started = time.perf_counter()
    value = None
    try:
        value = task(config)
        record["status"] = "completed"
    except Stopped as stopped:
        record |= {"status": "stopped", "reason": str(stopped)}
        raise
    except (Exception, SystemExit) as error:
        record |= {"status": "failed", "reason": explain(error)}
        if isinstance(error, SystemExit) and "SUBMITIT_FOLDER" in os.environ:
            record["status"] = "stopped"
            raise  # by leaving, submitit has a job that is preempted queued again
    finally:
        record["seconds"] = round(time.perf_counter() - started, 3)
        write_json(folder / JOB_FILE, record)
        release_memory()  # networks and trainers hold each other, and would into the next job
    log.info(_line(record, folder))
    return value if record["status"] == "completed" else FailedJob(record["reason"])


class Sweep:
    """A sweep in the process that runs it; holds its directory, so that no other one writes to it.

    Args:
        command: Name of the primary configuration.
        config: The composed configuration, Hydra's own with it, without what is swept over.
        overrides: The overrides of the command line.

    Attributes:
        folder: Where the sweep writes.

    Raises:
        UserError: If the directory is in use, is another sweep's, or cannot be found or made.
    """

    def __init__(self, command: str, config: DictConfig, overrides: Sequence[str]) -> None:
        self._command = command
        self._overrides = _own_overrides(overrides)
        self._can_resume = OmegaConf.select(config, RESUME) is not None
        _check_sweep(config, self._can_resume)
        self._jobs = _planned_jobs(config)
        self.folder = _choose_folder(config, command, self._overrides, overrides)
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self._held = ExitStack()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(own_folder(self.folder, "hydra.sweep.dir"))
            write_json(
                self.folder / SWEEP_FILE,
                {"version": 1, "command": command, "overrides": self._overrides},
            )
        except OSError as error:
            raise UserError(
                f"hydra.sweep.dir={self.folder}: cannot be written to ({error.strerror})"
            ) from error

    def close(self, end: str) -> str:
        """Ends the sweep: shows its table and writes it, as `sweep.csv` and `sweep.md`.

        Of a sweep none of whose jobs began nothing is left.

        Args:
            end: What ended it before its time; empty if nothing did.

        Returns:
            That, and how many jobs are not complete; empty if all are, and nothing ended it.
        """
        with self._held:
            records = _read_records(self.folder)
            if not records:
                self._clear()
                return end or "no job began"
            rows = _rows(records, self._jobs)
            self._write(rows)
        num_complete = sum(row["status"] == "completed" for row in rows)
        lines = [
            "",
            tabulate([_shortened(row) for row in rows], headers="keys", disable_numparse=True),
            "",
            f"{num_complete} of {len(rows)} jobs are complete; {self.folder / TABLE_FILE}.md, .csv",
        ]
        if num_complete < len(rows) and self._can_resume:
            resume = shlex.quote(f"{RESUME}={quoted(self.folder)}")
            lines += ["run what is not with", f"  {self._command_line()} {resume}"]
        # Not logged: Hydra has set logging up for its own lines, and for those of the last job.
        sys.stdout.write("\n".join(lines) + "\n")
        if num_complete == len(rows):
            return end
        reasons = {row["reason"] for row in rows if row["status"] == "failed"}
        because = f": {reasons.pop()}" if len(reasons) == 1 else ""
        missing = f"{len(rows) - num_complete} of {len(rows)} jobs did not complete{because}"
        return f"{end}; {missing}" if end else missing

    def _clear(self) -> None:
        """Takes away what was made for jobs that did not begin, and nothing else."""
        if self.folder not in self._made:
            return
        for name in (SWEEP_FILE, "multirun.yaml", ".lock"):
            (self.folder / name).unlink(missing_ok=True)
        for path in self._made:
            with suppress(OSError):  # there is something in it
                path.rmdir()

    def _write(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
        escaped = [{k: v.replace("|", "\\|") for k, v in row.items()} for row in rows]
        markdown = tabulate(escaped, headers="keys", tablefmt="github", disable_numparse=True)
        markdown = f"`{self._command_line()}`\n\n{markdown}\n"
        for ending, content in {"csv": text.getvalue(), "md": markdown}.items():
            with write_atomically(self.folder / f"{TABLE_FILE}.{ending}") as file:
                file.write(content.encode())

    def _command_line(self) -> str:
        program = ["python", "-m", f"mnist_vision.{self._command}", "--multirun"]
        return shlex.join([*program, *self._overrides])


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is none, or none that can be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _unresolved(overrides: Any) -> list[str]:
    """Overrides as they were typed: ${...} in them is not what it stands for."""
    typed: list[str] = OmegaConf.to_container(overrides, resolve=False)  # type: ignore[assignment]
    return typed


def _own_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that say where a sweep writes and whether it goes on."""
    return [o for o in overrides if not o.startswith((f"{RESUME}=", "hydra.sweep.dir="))]


def quoted(path: Path) -> str:
    """A path as a value in Hydra's grammar."""
    text = str(path)
    if re.fullmatch(r"[\w./-]+", text, re.ASCII):
        return text
    return "'" + text.replace("'", "\\'") + "'"


def _check_sweep(config: DictConfig, can_resume: bool) -> None:
    """Raises for settings under which jobs could be taken for one another."""
    if not can_resume:
        return
    if config.ckpt_path is not None or any(
        o.startswith("ckpt_path=") for o in _unresolved(config.hydra.overrides.task)
    ):
        raise UserError(f"ckpt_path: continues one run; a sweep is continued with {RESUME}=DIR")
    sweep = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    subdir = str(sweep["subdir"])  # type: ignore[index,call-overload]
    if "${fingerprint:" not in subdir:
        raise UserError(
            f"hydra.sweep.subdir={subdir}: must hold ${{fingerprint:}}, by which the directory of "
            "a job is found again"
        )


def _planned_jobs(config: DictConfig) -> list[list[str]] | None:
    """The overrides of each job of a grid, as Hydra's sweeper makes them; None for a search."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(f".{BasicSweeper.__name__}"):
        return None
    always = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    task_overrides = _unresolved(config.hydra.overrides.task)
    parsed = parser.parse_overrides([*always, *task_overrides])
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    if not jobs:
        raise UserError("no job to run: a setting has no values to take")
    return [_own_overrides(job) for job in jobs]


def _choose_folder(
    config: DictConfig, command: str, own_overrides: list[str], overrides: Sequence[str]
) -> Path:
    resume = OmegaConf.select(config, RESUME)
    folder = Path(config.hydra.sweep.dir)
    if isinstance(resume, str):
        if not (Path(resume) / SWEEP_FILE).is_file():
            raise UserError(f"{RESUME}={resume}: no directory of a sweep; give one, or true")
        return Path(resume)
    if not resume:
        if (folder / SWEEP_FILE).exists():
            raise UserError(
                f"hydra.sweep.dir={folder}: holds a sweep; choose another directory, or continue "
                f"it with {RESUME}=true (of train alone)"
            )
        return folder
    if any(o.startswith("hydra.sweep.dir=") for o in overrides):
        return folder
    wanted = {"version": 1, "command": command, "overrides": own_overrides}
    sweeps = [path for path in folder.parent.glob(f"*/{SWEEP_FILE}") if read_json(path) == wanted]
    if not sweeps:
        raise UserError(
            f"{RESUME}=true: {folder.parent} has no sweep of this command; give its directory, "
            f"{RESUME}=DIR, or start it without {RESUME}"
        )
    return max(sweeps, key=os.path.getmtime).parent


def _read_records(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The records of the jobs that began, in their order, with their directories."""
    found = [(path.parent, read_json(path)) for path in folder.rglob(JOB_FILE)]
    return sorted(
        ((where, record) for where, record in found if record.get("version") == 1),
        key=lambda each: (each[1]["number"], each[0].name),
    )


def _rows(
    records: list[tuple[Path, dict[str, Any]]], planned: list[list[str]] | None
) -> list[dict[str, str]]:
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


def _newest(
    overrides: list[str], records: list[tuple[Path, dict[str, Any]]]
) -> tuple[Path, dict[str, Any]] | None:
    """The record of a planned job: that of its last run, should what they mean have changed."""
    own = [each for each in records if overrides in each[1]["requests"]]
    return max(own, key=lambda each: os.path.getmtime(each[0] / JOB_FILE), default=None)


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (override.partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}


def _outcome(found: tuple[Path, dict[str, Any]] | None) -> dict[str, str]:
    """How a job ended, as columns of the table."""
    folder, record = found or (Path(), {"status": "not run", "seconds": None, "reason": None})
    # A job that says it is running, when its sweep has ended, was killed or left behind.
    is_cut_short = record["status"] in ("running", "stopped")
    results = read_json(folder / RESULTS_FILE) if record["status"] == "completed" else {}
    history = results.get("history", [])
    test = _test_figures(folder)
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


def _test_figures(folder: Path) -> dict[str, Any]:
    """What a run, or the test of a checkpoint, has in its directory."""
    held = read_json(folder / RESULTS_FILE) or read_json(folder / EVALUATION_FILE)
    figures: dict[str, Any] = held.get("test", {})
    return figures


def _decimal(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _shortened(row: dict[str, str]) -> dict[str, str]:
    """A row for the terminal, whose lines would break: no directory, no long reason or number."""
    reason = row["reason"]
    short = {key: _rounded(value) for key, value in row.items() if key != "directory"}
    return short | {"reason": reason if len(reason) <= 60 else f"{reason[:57]}..."}


def _rounded(value: str) -> str:
    try:
        return f"{float(value):.4g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value


def _line(record: dict[str, Any], folder: Path) -> str:
    """What is said of a job when it ends."""
    test = _test_figures(folder) if record["status"] == "completed" else {}
    figures = f", accuracy {test['accuracy']:.4f}, F1 {test['f1']:.4f}" if test else ""
    minutes = f" in {record['seconds'] / 60:.1f} min" if record["seconds"] is not None else ""
    reason = f": {record['reason']}" if record["reason"] else ""
    overrides = " ".join(record["overrides"])
    return f"job {record['number']} {record['status']}{minutes}{figures}{reason}  ({overrides})"
