"""A whole sweep, in the process that was asked for it."""

import csv
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import lock_directory, read_json, shown, write_atomically, write_json
from mnist_vision.runs.settings import quoted, typed_overrides
from mnist_vision.sweeps.job import RESUME, own_overrides
from mnist_vision.sweeps.job_table import make_rows, read_jobs, shortened

SWEEP_FILE = "sweep.json"
TABLE_FILE = "sweep"


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
        self._overrides = own_overrides(overrides)
        self._can_resume = OmegaConf.select(config, RESUME) is not None
        _check_sweep(config, self._can_resume)
        self._jobs = _planned_jobs(config)
        self.folder = _choose_folder(config, command, overrides)
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self._held = ExitStack()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(lock_directory(self.folder, "hydra.sweep.dir"))
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
            begun = read_jobs(self.folder)
            if not begun:
                self._clear()
                return end or "no job began"
            rows = make_rows(begun, self._jobs)
            self._write(rows)
        table = shown(self.folder / TABLE_FILE)
        num_complete = sum(row["status"] == "completed" for row in rows)
        lines = [
            "",
            tabulate([shortened(row) for row in rows], headers="keys", disable_numparse=True),
            "",
            f"{num_complete} of {len(rows)} jobs are complete; {table}.md, .csv",
        ]
        if num_complete < len(rows) and self._can_resume:
            resume = shlex.quote(f"{RESUME}={quoted(shown(self.folder))}")
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


def _check_sweep(config: DictConfig, can_resume: bool) -> None:
    """Raises for settings under which jobs could be taken for one another."""
    if config.get("overwrite"):
        raise UserError("overwrite=true: replaces one run; choose another hydra.sweep.dir=DIR")
    if not can_resume:
        return
    if config.ckpt_path is not None or any(
        o.startswith("ckpt_path=") for o in typed_overrides(config.hydra.overrides.task)
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
    task_overrides = typed_overrides(config.hydra.overrides.task)
    parsed = parser.parse_overrides([*always, *task_overrides])
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    if not jobs:
        raise UserError("no job to run: a setting has no values to take")
    return [own_overrides(job) for job in jobs]


def _choose_folder(config: DictConfig, command: str, overrides: Sequence[str]) -> Path:
    resume = OmegaConf.select(config, RESUME)
    folder = Path(config.hydra.sweep.dir).expanduser()
    if isinstance(resume, str):
        found = Path(resume).expanduser()
        if not (found / SWEEP_FILE).is_file():
            raise UserError(f"{RESUME}={resume}: no directory of a sweep; give one, or true")
        return found
    if not resume:
        if (folder / SWEEP_FILE).exists():
            how = "" if resume is None else f", or continue it with {RESUME}=true"
            raise UserError(
                f"hydra.sweep.dir={folder}: holds a sweep; choose another directory{how}"
            )
        return folder
    if any(o.startswith("hydra.sweep.dir=") for o in overrides):
        return folder
    wanted = {"version": 1, "command": command, "overrides": own_overrides(overrides)}
    sweeps = [path for path in folder.parent.glob(f"*/{SWEEP_FILE}") if read_json(path) == wanted]
    if not sweeps:
        raise UserError(
            f"{RESUME}=true: {folder.parent} has no sweep of this command; give its directory, "
            f"{RESUME}=DIR, or start it without {RESUME}"
        )
    return max(sweeps, key=os.path.getmtime).parent
