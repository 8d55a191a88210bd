"""Run a sweep: its directory, the jobs it plans, and the table at its end."""

import csv
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

# Hydra has no public class that lists the jobs of a grid.
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import (
    explain_os_error,
    lock_directory,
    read_json,
    shown,
    write_atomically,
    write_json,
)
from mnist_vision.runs.settings import argument, program, quoted, typed_overrides
from mnist_vision.sweeps.job import RESUME, job_overrides
from mnist_vision.sweeps.job_table import make_rows, read_jobs, shorten

SWEEP_FILE = "sweep.json"
TABLE_FILE = "sweep"


class Sweep:
    """A sweep, in the process that starts its jobs.

    Args:
        command: Name of the command.
        config: The composed configuration, with Hydra's own; changed in place, so that Hydra and
            its launchers write into the directory of the sweep.
        overrides: The overrides of the command line.
        held: Holds the directory, so that no other process writes into it.

    Raises:
        UserError: If the directory is in use, holds another sweep, or cannot be found or created.
    """

    def __init__(
        self, command: str, config: DictConfig, overrides: Sequence[str], held: ExitStack
    ) -> None:
        self._command = command
        self._overrides = job_overrides(overrides)
        self._can_resume = OmegaConf.select(config, RESUME) is not None
        _check_sweep(config, self._can_resume)
        self._jobs = _plan_jobs(config)
        record = {"version": 1, "command": command, "overrides": self._overrides}
        is_named = any(o.startswith("hydra.sweep.dir=") for o in overrides)
        folder = _choose_folder(config, record, is_named=is_named)
        self._created = [path for path in (folder, *folder.parents) if not path.exists()]
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_directory(folder, "hydra.sweep.dir"))
            write_json(folder / SWEEP_FILE, record)
        except OSError as error:
            self._delete_folder()
            raise UserError(explain_os_error(error, folder, "hydra.sweep.dir")) from error
        # Hydra's sweeper reads the first; each job is composed again from the second.
        config.hydra.sweep.dir = str(folder).replace("${", r"\${")
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(folder)}")

    def close(self, error: str) -> str:
        """End the sweep: print its table, and write it as `sweep.csv` and `sweep.md`.

        If no job started, delete the sweep directory.

        Args:
            error: Why the sweep ended early; empty if it did not.

        Returns:
            What went wrong, in one line: the error, a table that cannot be written, and the number
            of unfinished jobs; empty if all jobs are complete.
        """
        started = read_jobs(self._folder)
        if not started:
            self._delete_folder()
            return error or "no job started"
        rows = make_rows(started, self._jobs)
        num_complete = sum(row["status"] == "completed" for row in rows)
        # Not logged: logging is set up for Hydra's own lines or for the last job.
        sys.stdout.write("\n".join(self._summary(rows, num_complete)) + "\n")
        messages = [error]
        try:
            self._write(rows)
        except OSError as failure:
            messages.append(explain_os_error(failure, self._folder, "hydra.sweep.dir"))
        if num_complete < len(rows):
            reasons = {row["reason"] for row in rows if row["status"] == "failed"}
            because = f": {reasons.pop()}" if len(reasons) == 1 else ""
            missing = len(rows) - num_complete
            messages.append(f"{missing} of {len(rows)} jobs did not complete{because}")
        return "; ".join(message for message in messages if message)

    def _summary(self, rows: list[dict[str, str]], num_complete: int) -> list[str]:
        table = shown(self._folder / TABLE_FILE)
        lines = [
            "",
            tabulate([shorten(row) for row in rows], headers="keys", disable_numparse=True),
            "",
            f"{num_complete} of {len(rows)} jobs are complete; {table}.md, .csv",
        ]
        if num_complete < len(rows) and self._can_resume:
            resume = argument(RESUME, self._folder)
            lines += ["run the unfinished jobs with", f"  {self._command_line()} {resume}"]
        return lines

    def _delete_folder(self) -> None:
        """Delete the files and folders that this sweep created, and nothing else."""
        if self._folder not in self._created:
            return
        for name in (SWEEP_FILE, "multirun.yaml", ".lock"):
            with suppress(OSError):  # it was not written
                (self._folder / name).unlink()
        for path in self._created:
            with suppress(OSError):  # it is not empty
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
            with write_atomically(self._folder / f"{TABLE_FILE}.{ending}") as file:
                file.write(content.encode())

    def _command_line(self) -> str:
        arguments = ["-m", f"mnist_vision.{self._command}", "--multirun", *self._overrides]
        return f"{program('python')} {shlex.join(arguments)}"


def _check_sweep(config: DictConfig, can_resume: bool) -> None:
    """Refuse settings under which one job could be mistaken for another."""
    if config.get("overwrite"):
        raise UserError("overwrite=true: replaces one run; choose another hydra.sweep.dir=DIR")
    if not can_resume:
        return
    task_overrides = typed_overrides(config.hydra.overrides.task)
    if config.ckpt_path is not None or any(o.startswith("ckpt_path=") for o in task_overrides):
        raise UserError(f"ckpt_path: continues one run; a sweep is continued with {RESUME}=DIR")
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    subdir = str(sweep["subdir"])
    if "${fingerprint:" not in subdir:
        raise UserError(
            f"hydra.sweep.subdir={subdir}: must contain ${{fingerprint:}}, which identifies the "
            "directory of a job"
        )


def _plan_jobs(config: DictConfig) -> list[list[str]] | None:
    """List the overrides of each job of a grid, as Hydra's sweeper does; None for a search."""
    sweeper = config.hydra.sweeper
    if not sweeper._target_.endswith(f".{BasicSweeper.__name__}"):
        return None
    params = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    task_overrides = typed_overrides(config.hydra.overrides.task)
    parsed = parser.parse_overrides([*params, *task_overrides])
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    if not jobs:
        raise UserError("no job to run: a setting has an empty list of values")
    return [job_overrides(job) for job in jobs]


def _choose_folder(config: DictConfig, record: dict[str, object], *, is_named: bool) -> Path:
    """Choose the directory: of a new sweep, or of the newest one with the same record."""
    resume = OmegaConf.select(config, RESUME)
    folder = Path(config.hydra.sweep.dir).expanduser()
    if isinstance(resume, str):
        found = Path(resume).expanduser()
        if not (found / SWEEP_FILE).is_file():
            raise UserError(
                f"{RESUME}={resume}: is not the directory of a sweep; give one, or true"
            )
        return found
    if not resume and (folder / SWEEP_FILE).exists():
        how = "" if resume is None else f", or continue it with {RESUME}=true"
        raise UserError(f"hydra.sweep.dir={folder}: holds a sweep; choose another directory{how}")
    if not resume or is_named:
        return folder
    sweeps = [path for path in folder.parent.glob(f"*/{SWEEP_FILE}") if read_json(path) == record]
    if not sweeps:
        raise UserError(
            f"{RESUME}=true: {folder.parent} has no sweep of this command; give its directory, "
            f"{RESUME}=DIR, or start it without {RESUME}"
        )
    return max(sweeps, key=os.path.getmtime).parent
