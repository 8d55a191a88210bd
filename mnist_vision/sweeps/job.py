"""Run one job of a sweep."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_vision.common.errors import Stopped, UserError
from mnist_vision.common.files import shown
from mnist_vision.common.memory import release_memory
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Job, Results, TrainingResults
from mnist_vision.runs.robustness_record import Robustness
from mnist_vision.runs.settings import (
    figure_settings,
    find_change,
    fingerprint_of,
    flatten,
    typed_overrides,
)

RESUME = "sweep.resume"

# How long to train. A job that was trained on alone has other values.
_LENGTHS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")

log = logging.getLogger(__name__)

Task = Callable[[DictConfig], Any]
Explain = Callable[[BaseException], str]


def run_job(task: Task, config: DictConfig, explain: Explain) -> Any:
    """Run one job of a sweep, unless its directory holds the results of the same settings.

    If these lack the test or the suite of corruptions that is asked for, only that is measured. An
    interrupted job continues from its last checkpoint. If another process is running the job, wait
    for it. `job.json` records how the job ended.

    Args:
        task: The task to run.
        config: The job's configuration.
        explain: Explains in one line why the job failed.

    Returns:
        The value of the task or of its earlier run. None if it failed: Hydra's sweeper ignores it,
        and Optuna's counts a failed trial.

    Raises:
        Stopped: If a signal stopped it.
    """
    directory = RunDirectory(HydraConfig.get().runtime.output_dir)
    with directory.lock("hydra.sweep.dir", waits=True):
        earlier = directory.find(Job)
        job = _new_job(earlier)
        results = find_results(directory)
        if results is None or not _is_result_of(results, config) or _lacks_test(results, config):
            return _run(partial(_train, task, directory), config, explain, directory, job)
        if config.get("suite") is not None and directory.find(Robustness) is None:
            measure = partial(_add_robustness, directory, results)
            return _run(measure, config, explain, directory, job)
        seconds = earlier.seconds if earlier is not None else None
        job = job.model_copy(update={"status": "completed", "seconds": seconds})
        directory.write(job)
        log.info(
            "%s: already completed, not run again", _describe(job, _figures(results, directory))
        )
        return results.best.val_accuracy


def find_results(directory: RunDirectory) -> TrainingResults | None:
    """Find the results of a job, also if it was then trained on alone, for more epochs.

    These are the results with the settings that the directory is named by or, if none have them,
    the last ones.
    """
    found = directory.find_all_results()
    name = str(directory.path)
    own = [each for each in found if each.settings and fingerprint_of(each.settings) in name]
    return next(iter([*own, *found]), None)


def _is_result_of(results: TrainingResults, config: DictConfig) -> bool:
    """Test whether a run, which may have been resumed on another device, did all of a job."""
    if results.settings is None:
        return False
    done, wanted = flatten(results.settings), flatten(figure_settings(config))
    is_as_long = all(done.get(key) == wanted.get(key) for key in _LENGTHS)
    return is_as_long and find_change(done, wanted) is None


def _lacks_test(results: TrainingResults, config: DictConfig) -> bool:
    return bool(config.get("test")) and not isinstance(results, Results)


def _new_job(earlier: Job | None) -> Job:
    """Start the record of a job; it keeps the requests of earlier runs in the same directory."""
    overrides = job_overrides(typed_overrides(HydraConfig.get().overrides.task))
    requests = earlier.requests if earlier is not None else []
    return Job(
        number=HydraConfig.get().job.num,
        model=HydraConfig.get().runtime.choices.get("model"),
        overrides=overrides,
        requests=[*(each for each in requests if each != overrides), overrides],
        status="running",
    )


def _run(
    task: Task, config: DictConfig, explain: Explain, directory: RunDirectory, job: Job
) -> Any:
    """Run the task, and record how it ends."""
    directory.write(job)
    started = time.perf_counter()
    value, status, reason = None, "completed", None
    try:
        value = task(config)
    except Stopped as stopped:
        status, reason = "stopped", str(stopped)
        raise
    except (Exception, SystemExit) as error:
        # Not raised again: Hydra would keep the exception, and the memory it holds, to the end.
        status, reason = "failed", explain(error)
        if isinstance(error, SystemExit) and "SUBMITIT_FOLDER" in os.environ:
            status = "stopped"
            raise  # submitit exits like this to queue a preempted job again
    finally:
        seconds = round(time.perf_counter() - started, 3)
        job = job.model_copy(update={"status": status, "reason": reason, "seconds": seconds})
        # Nothing may hide the stop; a record that still says "running" counts as interrupted.
        with suppress(OSError) if status == "stopped" else nullcontext():
            directory.write(job)
        release_memory()  # networks and trainers refer to each other
    figures = _figures(directory.find_results(), directory) if status == "completed" else ""
    log.info(_describe(job, figures))
    return value


def _train(task: Task, directory: RunDirectory, config: DictConfig) -> Any:
    """Run the task, from the last checkpoint on if there is one."""
    checkpoint = _find_checkpoint(directory, config)
    if checkpoint is not None:
        config.ckpt_path = checkpoint
    return task(config)


def _add_robustness(directory: RunDirectory, results: TrainingResults, config: DictConfig) -> float:
    """Measure a complete job under a suite of corruptions; return the value of the job."""
    # It imports torch, which a job that is complete does not need.
    from mnist_vision.inference.robustness_recording import add_robustness

    add_robustness(directory, config)
    return results.best.val_accuracy


def _find_checkpoint(directory: RunDirectory, config: DictConfig) -> str | None:
    """Find the checkpoint that a job goes on from; put a damaged one aside, to start anew.

    Raises:
        UserError: If the directory holds results, and training cannot go on from them. Starting
            anew would replace the checkpoints that belong to them.
    """
    last = directory.last_checkpoint
    way = f"move {shown(directory.path)} away to run the job again"
    if not last.exists():
        if directory.is_complete:
            raise UserError(f"{shown(last)}: is missing, so the job cannot go on; {way}")
        return None
    # Importing torch takes seconds, which a job that is complete does not need.
    from mnist_vision.training.checkpoints import epochs_done, read_resumable

    try:
        checkpoint = read_resumable(last)
        done = epochs_done(checkpoint)
    except UserError as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        if directory.is_complete:
            raise UserError(f"{shown(last)}: is damaged, so the job cannot go on; {way}") from error
        aside = directory.put_last_checkpoint_aside()
        log.warning("%s; renamed to %s; the job starts anew", error, aside.name)
        return None
    trainer = config.trainer
    if done > trainer.max_epochs or 0 <= trainer.max_steps < checkpoint["global_step"]:
        raise UserError(
            f"{shown(directory.path)}: was trained on alone, and its results are not those of this "
            f"job; {way}"
        )
    return str(last)


def job_overrides(overrides: Sequence[str]) -> list[str]:
    """Leave out the overrides that choose the sweep's directory."""
    return [o for o in overrides if not o.startswith((f"{RESUME}=", "hydra.sweep.dir="))]


def _describe(job: Job, figures: str) -> str:
    """Describe in one line how a job ended."""
    minutes = f" in {job.seconds / 60:.1f} min" if job.seconds is not None else ""
    reason = f": {job.reason}" if job.reason else ""
    overrides = " ".join(job.overrides)
    return f"job {job.number} {job.status}{minutes}{figures}{reason}  ({overrides})"


def _figures(results: TrainingResults | None, directory: RunDirectory) -> str:
    """Name the accuracy of a complete job."""
    test = results.test if isinstance(results, Results) else directory.find_test()
    if test is not None:
        return f", accuracy {test.accuracy:.4f}, F1 {test.f1:.4f}"
    return "" if results is None else f", val accuracy {results.best.val_accuracy:.4f}"
