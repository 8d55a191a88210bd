"""Run a command: Hydra, early checks, signals, and errors as one line.

Nothing heavy is imported here, so that `--help`, `--cfg job` and a mistyped key answer at once.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_vision.cli.explain import explain
from mnist_vision.cli.front_door import FrontDoor, Invocation, read_arguments
from mnist_vision.cli.known_keys import check_keys
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import Stopped, fail, stop_behind
from mnist_vision.runs.settings import fingerprint, flatten, make_paths_absolute

log = logging.getLogger(__name__)

# Checks the configuration, writes nothing, and returns what does the work.
Task = Callable[[DictConfig], Callable[[], Any]]


# On import, because a job of a sweep may run in a process that never calls `run_command`.
OmegaConf.register_new_resolver("fingerprint", lambda *, _root_: fingerprint(_root_), replace=True)


def run_command(task: Task, command: str, *, can_resume: bool = False) -> None:
    """Compose the configuration and run a task on it; end the process on an error.

    An error is one line on standard error and a non-zero exit code; its traceback goes to the
    run's log. SIGINT and SIGTERM exit with 130 and 143.

    Args:
        task: Prepares what the command does. The first line of its module's docstring describes
            the command in the help.
        command: Name of the command and of its primary configuration in `conf/`.
        can_resume: Whether `ckpt_path` names a run to continue.
    """
    stop_once = _prepare_process()
    description = str(sys.modules[task.__module__].__doc__).splitlines()[0]
    job = HydraTask(task, command)
    message, exit_code = "", 1
    with ExitStack() as held:
        call = FrontDoor.call = Invocation(command, task, held)
        try:
            name = read_arguments(call, description, can_resume=can_resume)
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)(job)()
            message = job.error
        except Stopped as stopped:
            message, exit_code = str(stopped), stopped.exit_code
        except Exception as error:
            message = explain(error, partial(_config_keys, command), call.log_file)
        # Here, because Hydra does not call on_multirun_end for a sweep that fails or is stopped.
        if call.sweep is not None:
            stop_once.ignore()  # no job is left to stop
            try:
                message = call.sweep.close(message)
            except Exception as error:
                message = explain(error)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)  # Python would end with another code
    if message:
        fail(message, exit_code)


class HydraTask:
    """A task as Hydra calls it: a single run, or one job of a sweep.

    A class, not a nested function: launchers send it to other processes, which import this module
    to load it and so register the resolver.
    """

    def __init__(self, task: Task, command: str) -> None:
        self._task = task
        self._command = command
        self.error = ""  # why a single run failed, in one line

    def __call__(self, config: DictConfig) -> Any:
        """Run the task; keep its error in `self.error`, because Hydra would add text to it."""
        hydra_config = HydraConfig.get()
        log_file = Path(hydra_config.runtime.output_dir) / f"{hydra_config.job.name}.log"
        if hydra_config.mode == RunMode.MULTIRUN:
            from mnist_vision.sweeps.job import run_job

            make_paths_absolute(config, hydra_config.runtime.cwd)
            explain_job = partial(explain, log_file=log_file, setting="hydra.sweep.dir")
            return run_job(self._check_and_run, config, explain_job)
        try:
            return _run(FrontDoor.call.work)
        except Exception as error:
            self.error = explain(error, log_file=log_file)

    def _check_and_run(self, config: DictConfig) -> Any:
        """Run one job of a sweep; a single run is checked by `FrontDoor`."""
        from mnist_vision.cli.limits import check_limits

        check_keys(config, self._command)
        check_limits(config, self._command)
        return _run(lambda: self._task(config)())


def _run(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except BaseException as error:
        # At debug level: in the run's log, but not on the terminal.
        log.debug("The task ended with an error", exc_info=True)
        stopped = stop_behind(error)
        if stopped is not None:
            raise stopped from None
        raise


class _StopOnce:
    """A signal handler that raises `Stopped` on the first signal and ignores the others.

    A second signal must not interrupt the cleanup that the first one started. A flag, not SIG_IGN:
    Lightning restores the handlers that it found.
    """

    def __init__(self) -> None:
        self._is_stopping = False

    def ignore(self) -> None:
        """Ignore all signals from now on."""
        self._is_stopping = True

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            raise Stopped(signum)


def _prepare_process() -> _StopOnce:
    """Set up streams, errors and signals of the process; return the signal handler."""
    _open_closed_streams()
    # Hydra then raises exceptions instead of printing them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # If the log cannot be written, because the disk is full, say, still print the error itself.
    logging.raiseExceptions = False
    threading.excepthook = _log_thread_error
    stop_once = _StopOnce()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop_once)
    return stop_once


def _open_closed_streams() -> None:
    """Open those standard streams that the caller has closed, on the null device.

    Libraries write to them. Also, the next file that is opened would get the number of a closed
    one, and what a library writes to that number would end up in a checkpoint.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "r+" if number == 0 else "w", encoding="utf-8"))


def _log_thread_error(arguments: threading.ExceptHookArgs) -> None:
    """Log the error of a thread; TensorBoard's writer also raises its error in the main thread."""
    log.debug("A thread ended with an error", exc_info=arguments.exc_value)


def _config_keys(command: str) -> list[str]:
    """List groups and dotted keys of the configuration, to suggest similar ones."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose(command)
    groups = [path.name for path in CONF_DIR.iterdir() if path.is_dir()]
    keys = list(flatten(OmegaConf.to_container(config, resolve=False)))
    parents = [key.rpartition(".")[0] for key in keys]
    return list(dict.fromkeys([*groups, *parents, *keys]))
