"""One job of a sweep, in the process that runs it."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_vision.common.errors import Stopped
from mnist_vision.common.files import lock_directory
from mnist_vision.common.memory import release_memory
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Job
from mnist_vision.runs.settings import figure_settings, typed_overrides

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
    directory = RunDirectory(HydraConfig.get().runtime.output_dir)
    with lock_directory(directory.path, "hydra.sweep.dir", waits=True):
        return _run_job(task, config, explain, directory)


def _run_job(
    task: Callable[[DictConfig], Any],
    config: DictConfig,
    explain: Callable[[BaseException], str],
    directory: RunDirectory,
) -> Any:
    overrides = own_overrides(typed_overrides(HydraConfig.get().overrides.task))
    earlier = directory.find_job()
    requests = earlier.requests if earlier is not None else []
    job = Job(
        number=HydraConfig.get().job.num,
        model=HydraConfig.get().runtime.choices.get("model"),
        overrides=overrides,
        requests=[*(each for each in requests if each != overrides), overrides],
        status="running",
    )
    results = directory.find_results()
    if results is not None and results.settings == figure_settings(config):
        seconds = earlier.seconds if earlier is not None else None
        job = job.model_copy(update={"status": "completed", "seconds": seconds})
        directory.write_job(job)
        log.info("%s, before", _line(job, directory))
        return results.best.val_accuracy
    if directory.last_checkpoint.exists():
        config.ckpt_path = str(directory.last_checkpoint)
    directory.write_job(job)
    started = time.perf_counter()
    value, status, reason = None, "completed", None
    try:
        value = task(config)
    except Stopped as stopped:
        status, reason = "stopped", str(stopped)
        raise
    except (Exception, SystemExit) as error:
        status, reason = "failed", explain(error)
        if isinstance(error, SystemExit) and "SUBMITIT_FOLDER" in os.environ:
            status = "stopped"
            raise  # by leaving, submitit has a job that is preempted queued again
    finally:
        seconds = round(time.perf_counter() - started, 3)
        job = job.model_copy(update={"status": status, "reason": reason, "seconds": seconds})
        directory.write_job(job)
        release_memory()  # networks and trainers hold each other, and would into the next job
    log.info(_line(job, directory))
    return value if reason is None else FailedJob(reason)


def own_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that say where a sweep writes and whether it goes on."""
    return [o for o in overrides if not o.startswith((f"{RESUME}=", "hydra.sweep.dir="))]


def _line(job: Job, directory: RunDirectory) -> str:
    """What is said of a job when it ends."""
    test = directory.find_test() if job.status == "completed" else None
    figures = f", accuracy {test.accuracy:.4f}, F1 {test.f1:.4f}" if test is not None else ""
    minutes = f" in {job.seconds / 60:.1f} min" if job.seconds is not None else ""
    reason = f": {job.reason}" if job.reason else ""
    overrides = " ".join(job.overrides)
    return f"job {job.number} {job.status}{minutes}{figures}{reason}  ({overrides})"
