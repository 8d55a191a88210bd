"""One job of a sweep, in the process that runs it."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_vision.errors import Stopped
from mnist_vision.files import JOB_FILE, RESULTS_FILE, read_json, write_json
from mnist_vision.memory import release_memory
from mnist_vision.settings import settings_of, typed_overrides
from mnist_vision.sweeps.table import read_figures

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
    overrides = own_overrides(typed_overrides(HydraConfig.get().overrides.task))
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


def own_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that say where a sweep writes and whether it goes on."""
    return [o for o in overrides if not o.startswith((f"{RESUME}=", "hydra.sweep.dir="))]


def _line(record: dict[str, Any], folder: Path) -> str:
    """What is said of a job when it ends."""
    test = read_figures(folder) if record["status"] == "completed" else {}
    figures = f", accuracy {test['accuracy']:.4f}, F1 {test['f1']:.4f}" if test else ""
    minutes = f" in {record['seconds'] / 60:.1f} min" if record["seconds"] is not None else ""
    reason = f": {record['reason']}" if record["reason"] else ""
    overrides = " ".join(record["overrides"])
    return f"job {record['number']} {record['status']}{minutes}{figures}{reason}  ({overrides})"
