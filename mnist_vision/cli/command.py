"""The front door of every command: Hydra, early checks, signals, and errors as one line.

Imports nothing heavy, so that `--help`, `--cfg job` and a mistyped key answer at once.
"""

import functools
import logging
import os
import re
import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mnist_vision.cli.explain import explain, similar
from mnist_vision.cli.limits import check_limits
from mnist_vision.cli.resume import ResumedRun, find_resumed
from mnist_vision.cli.usage import help_text
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import Stopped, UserError, stop_behind
from mnist_vision.common.files import shown
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.settings import fingerprint, make_paths_absolute, quoted, quoted_text

if TYPE_CHECKING:  # a single run needs none of it
    from mnist_vision.sweeps.sweep import Sweep

log = logging.getLogger(__name__)

Task = Callable[[DictConfig], Any]


# On import: a job of a sweep may run in a process that never sees `run_command`.
OmegaConf.register_new_resolver("fingerprint", lambda *, _root_: fingerprint(_root_), replace=True)


class _Failed(BaseException):
    """Carries a task's exception past Hydra, which would print a remark of its own.

    Args:
        error: The exception.
        log_file: Where its traceback was logged.
    """

    def __init__(self, error: Exception, log_file: Path) -> None:
        super().__init__(str(error))
        self.error = error
        self.log_file = log_file


def run_command(task: Task, config_name: str, *, can_resume: bool = False) -> None:
    """Composes the configuration and runs a task on it; ends the process on an error.

    An error is one line on standard error and a non-zero exit code; its traceback goes to the
    run's log. SIGINT and SIGTERM exit with 130 and 143.

    Args:
        task: What the command does with its configuration.
        config_name: The primary configuration file in `conf/`, without its ending.
        can_resume: Whether `ckpt_path` names a run to go on with.
    """
    # Hydra then hands exceptions on, and this function, not Hydra, tells the user.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Where even the log cannot be written, a full disk say, the error itself is told all the same.
    logging.raiseExceptions = False
    threading.excepthook = _log_thread_error
    stop_once = _StopOnce()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop_once)
    known_keys = functools.partial(_config_keys, config_name)
    sweep, message, exit_code = None, "", 0
    with ExitStack() as held:
        try:
            name, sweep = _check_command_line(config_name, can_resume, held, task)
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)(
                _Job(task)
            )()
        except Stopped as stopped:
            message, exit_code = str(stopped), stopped.exit_code
        except _Failed as failed:
            message, exit_code = explain(failed.error, known_keys, failed.log_file), 1
        except Exception as error:
            message, exit_code = explain(error, known_keys), 1
        if sweep is not None:
            stop_once.ignore()  # nothing is left to stop
            try:
                message = sweep.close(message)
            except Exception as error:
                message = explain(error, known_keys)
    if message:
        _fail(message, exit_code or 1)


class _StopOnce:
    """A signal handler that raises `Stopped`, the first time.

    A second signal must not cut short what the first one set in motion. A flag, not SIG_IGN:
    Lightning puts the handlers it found back.
    """

    def __init__(self) -> None:
        self._is_stopping = False

    def ignore(self) -> None:
        """Has signals do nothing from now on."""
        self._is_stopping = True

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            raise Stopped(signum)


def _log_thread_error(arguments: threading.ExceptHookArgs) -> None:
    """For TensorBoard's writer: it hands its error on to the main thread, which tells the user."""
    log.debug("A thread ended with an error", exc_info=arguments.exc_value)


def _check_command_line(
    config_name: str, can_resume: bool, held: ExitStack, task: Task
) -> tuple[str, "Sweep | None"]:
    """Finds mistakes before anything is written, and takes the directory that is written to.

    Args:
        config_name: The primary configuration of the command.
        can_resume: Whether `ckpt_path` names a run to go on with.
        held: Holds the directory from here on.
        task: What the command does; the docstring of its module describes it in the help.

    Returns:
        The name of the configuration to compose, and the sweep, if it is one that is asked for.
    """
    parser = get_args_parser()
    args = _parse_arguments(parser)
    runs_task = not (args.hydra_help or args.cfg or args.info or args.shell_completion)
    if args.multirun and (args.config_dir is not None or args.config_path is not None):
        raise UserError(
            "--multirun: not with --config-dir or --config-path; add a folder of configuration "
            "with hydra.searchpath=[file://DIR]"
        )
    options = [argument for argument in sys.argv[1:] if argument not in args.overrides]
    overrides = [_as_hydra_takes_it(override) for override in args.overrides]
    name, resumed = args.config_name or config_name, None
    if can_resume and not args.multirun:
        resumed = find_resumed(overrides, CONF_DIR)
    if resumed is not None:
        if args.config_name is not None:
            raise UserError("--config-name: not with ckpt_path, which brings the configuration")
        name, overrides = resumed.CONFIG_NAME, resumed.overrides
    sys.argv[1:] = [*options, *overrides]
    if not runs_task:
        return name, None
    with _composer(args) as app:
        if args.help:
            described = str(sys.modules[task.__module__].__doc__).splitlines()[0]
            config = app.compose_config(name, overrides, run_mode=RunMode.RUN)
            sys.stdout.write(help_text(described, config, parser))
            sys.exit(0)
        is_sweep = args.multirun or app.get_mode(name, overrides) == RunMode.MULTIRUN
        mode = RunMode.MULTIRUN if is_sweep else RunMode.RUN
        config = app.compose_config(name, overrides, run_mode=mode)
        for key in map(str, config):
            # What is swept over is missing here.
            if OmegaConf.is_missing(config, key) and not is_sweep:
                raise UserError(f"{key} is required; give it as {key}=VALUE")
        # Of a sweep, what all jobs share; its jobs are checked one by one.
        check_limits(config)
        if is_sweep:
            from mnist_vision.sweeps.sweep import Sweep

            sweep = Sweep(config_name, config, overrides)
            sys.argv.append(f"hydra.sweep.dir={quoted(sweep.folder)}")
            return name, sweep
        if OmegaConf.select(config, "sweep.resume"):
            raise UserError(f"sweep.resume={config.sweep.resume}: goes on with a sweep: --multirun")
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:  # else the first process holds it
            held.enter_context(_take_directory(config, resumed))
    return name, None


def _parse_arguments(parser: ArgumentParser) -> Any:
    """Parses the command line; ends the process where an option is unknown."""
    args, unknown = parser.parse_known_args()
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        if "=" in unknown[0]:
            _fail(f"{unknown[0]}: settings stand together, before or after options", 2)
        _fail(f"unknown option {unknown[0]}{similar(unknown[0], options)}; see --help", 2)
    return args


def _as_hydra_takes_it(override: str) -> str:
    """Writes `GROUP=null` as `GROUP=[]`; quotes a path that begins with `~`, and a `GROUP=3`."""
    key, _, value = override.partition("=")
    if not key:
        raise UserError(f"{override!r}: must be GROUP=CHOICE or KEY=VALUE")
    if key.lstrip("+~") == "output_dir":
        raise UserError("output_dir: follows hydra.run.dir=DIR or, of a sweep, hydra.sweep.dir=DIR")
    is_group = key.isidentifier() and (CONF_DIR / key).is_dir()
    if is_group and value == "null":
        return f"{key}=[]"
    is_no_text = re.fullmatch(r"[-+.\d]+|true|false", value, re.IGNORECASE) is not None
    if value.startswith("~") or (is_group and is_no_text):
        return f"{key}={quoted_text(value)}"
    return override


@contextmanager
def _composer(args: Any) -> Iterator[Hydra]:
    """Hydra, with the configuration folders that the command line names."""
    search_path = create_config_search_path(
        str(CONF_DIR.parent / args.config_path) if args.config_path else str(CONF_DIR)
    )
    if args.config_dir is not None:
        folder = f"file://{os.path.abspath(args.config_dir)}"
        search_path.prepend("command-line", folder, SearchPathQuery(provider="schema"))
    GlobalHydra.instance().clear()
    try:
        yield Hydra.create_main_hydra2("mnist_vision", search_path)
    finally:
        GlobalHydra.instance().clear()


def _take_directory(config: DictConfig, resumed: ResumedRun | None) -> AbstractContextManager[None]:
    """Checks a resumed run's settings, and takes the directory; tells Hydra which it is."""
    directory = RunDirectory(Path(os.path.expanduser(config.hydra.run.dir)).absolute())
    is_own, overwrite = False, bool(config.get("overwrite"))
    if resumed is not None:
        resumed.check(config)
        is_own = resumed.directory is not None and directory.is_same(resumed.directory)
        if is_own:
            # The record of how the run was started stays as it is.
            sys.argv.append("hydra.output_subdir=null")
    if overwrite and config.get("ckpt_path") and directory.holds(config.ckpt_path):
        raise UserError(f"overwrite=true: would delete ckpt_path={shown(config.ckpt_path)}")
    sys.argv.append(f"hydra.run.dir={quoted(directory.path)}")
    return directory.take(resumes=is_own, overwrite=overwrite)


class _Job:
    """A task as Hydra calls it: its configuration checked, what ends it logged.

    A class, not a function in a function: launchers send it to other processes, where loading it
    imports this module, and so registers the resolvers.

    Args:
        task: What the command does with its configuration.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self, config: DictConfig) -> Any:
        hydra_config = HydraConfig.get()
        make_paths_absolute(config, hydra_config.runtime.cwd)
        log_file = Path(hydra_config.runtime.output_dir) / f"{hydra_config.job.name}.log"
        if hydra_config.mode == RunMode.MULTIRUN:
            from mnist_vision.sweeps.job import run_job

            return run_job(self._run, config, lambda error: explain(error, list, log_file))
        try:
            return self._run(config)
        except Exception as error:
            raise _Failed(error, log_file) from error

    def _run(self, config: DictConfig) -> Any:
        try:
            check_limits(config)
            return self._task(config)
        except BaseException as error:
            # At debug level: the run's log has it, the terminal does not.
            log.debug("The task ended with an error", exc_info=True)
            stopped = stop_behind(error)
            if stopped is not None:
                raise stopped from None
            raise


def _config_keys(config_name: str) -> list[str]:
    """Every key and group of the configuration, dotted, as suggestions are drawn from."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose(config_name)
    groups = [path.name for path in CONF_DIR.iterdir() if path.is_dir()]
    return groups + _dotted_keys(OmegaConf.to_container(config, resolve=False))


def _dotted_keys(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = []
    for key, child in node.items():
        keys += [f"{prefix}{key}", *_dotted_keys(child, f"{prefix}{key}.")]
    return keys


def _fail(message: str, exit_code: int) -> NoReturn:
    sys.stdout.flush()
    # What others wrote, in a file or a name, is not to rewrite the terminal.
    line = "".join(char if char.isprintable() else " " for char in message)
    sys.stderr.write(f"error: {line}\n")
    sys.exit(exit_code)
