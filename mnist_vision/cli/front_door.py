"""Early checks: find mistakes and take the output directory before anything is written."""

import copy
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra import compose, initialize_config_dir

# Hydra has no public parser of its options.
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from mnist_vision.cli.explain import explain
from mnist_vision.cli.known_keys import check_keys, check_overrides
from mnist_vision.cli.resume import ResumedRun, find_resumed
from mnist_vision.cli.usage import help_text
from mnist_vision.common.conf import CONF_DIR, is_group
from mnist_vision.common.errors import UserError, fail, stop_behind
from mnist_vision.common.files import shown
from mnist_vision.common.suggestions import similar
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.settings import check_unchanged, make_paths_absolute, quoted, quoted_text

if TYPE_CHECKING:  # a single run does not need it
    from mnist_vision.sweeps.sweep import Sweep


@dataclass
class Invocation:
    """One call of a command: what `run_command` and Hydra's callback share."""

    command: str
    task: Callable[[DictConfig], Callable[[], Any]]
    held: ExitStack  # the lock of the output directory, until the command ends
    overrides: list[str] = field(default_factory=list)
    resumed: ResumedRun | None = None
    work: Callable[[], Any] = lambda: None  # of a single run: what the task prepared
    log_file: Path | None = None  # of a single run, once its directory is taken
    sweep: "Sweep | None" = None  # once it has started


class FrontDoor(Callback):
    """Check the composed configuration and take the output directory, before Hydra writes there.

    Hydra creates the callback and copies it to other processes, so the invocation is on the class.
    """

    OVERRIDE: ClassVar[str] = f"++hydra.callbacks.front_door._target_={__name__}.FrontDoor"
    call: ClassVar[Invocation]

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the configuration of a single run; end the process if it is wrong."""
        with _exit_on_error():
            from mnist_vision.cli.limits import check_limits  # pydantic takes time to import

            check_overrides(self.call.overrides, config, self.call.command)
            check_keys(config, self.call.command)
            check_limits(config, self.call.command)
            if OmegaConf.select(config, "sweep.resume"):
                raise UserError(
                    f"sweep.resume={config.sweep.resume}: resumes a sweep; add --multirun"
                )
            _prepare_run(config, self.call)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check what all jobs of a sweep share, and start it; end the process if it is wrong."""
        with _exit_on_error():
            from mnist_vision.cli.limits import check_limits
            from mnist_vision.sweeps.sweep import Sweep

            check_overrides(self.call.overrides, config, self.call.command)
            check_limits(config, self.call.command)
            self.call.sweep = Sweep(self.call.command, config, self.call.overrides, self.call.held)


@contextmanager
def _exit_on_error() -> Iterator[None]:
    """End the process on an error: Hydra would turn an exception of a callback into a warning."""
    try:
        yield
    except Exception as error:
        stopped = stop_behind(error)
        if stopped is not None:
            raise stopped from None
        fail(explain(error), 1)


def _prepare_run(config: DictConfig, call: Invocation) -> None:
    """Prepare the task, lock the run directory, and tell Hydra what it may write there."""
    directory = RunDirectory(Path(config.hydra.run.dir).expanduser().absolute())
    resumed, resumes, overwrite = call.resumed, False, bool(config.get("overwrite"))
    if resumed is not None:
        check_unchanged(resumed.settings, config)
        resumes = resumed.directory is not None and directory.is_same(resumed.directory)
    if overwrite:
        _check_kept(config, directory)
    if os.path.expandvars(directory.path) != str(directory.path):
        raise UserError(
            f"hydra.run.dir={shown(directory.path)}: holds the name of an environment variable, "
            "which loggers would replace; choose another"
        )
    # Hydra does not expand ~.
    config.hydra.run.dir = str(directory.path).replace("${", r"\${")
    if resumes:
        config.hydra.output_subdir = None  # keep Hydra's record of how the run was started
    is_first = int(os.environ.get("LOCAL_RANK", 0)) == 0  # of the processes; it holds the lock
    if is_first:
        directory.check_available(resumes=resumes, overwrite=overwrite)
    try:
        call.work = call.task(_task_config(config, directory))
    finally:
        HydraConfig.instance().cfg = None  # Hydra sets it for the run
    if is_first:
        call.held.enter_context(directory.take(resumes=resumes, overwrite=overwrite))
    call.log_file = directory.path / f"{config.hydra.job.name}.log"


def _check_kept(config: DictConfig, directory: RunDirectory) -> None:
    """Refuse to delete what the command reads: a path, or a list of paths."""
    for key in ("ckpt_path", "input"):
        value = config.get(key)
        for path in value if isinstance(value, ListConfig) else [value]:
            if path is not None and directory.holds(str(path)):
                raise UserError(f"overwrite=true: would delete {key}={shown(str(path))}")


def _task_config(config: DictConfig, directory: RunDirectory) -> DictConfig:
    """Copy the configuration as Hydra does for a task; the directory need not exist yet."""
    with open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(directory.path)
    HydraConfig.instance().set_config(config)
    task_config = copy.deepcopy(config)
    with open_dict(task_config):
        del task_config["hydra"]
    make_paths_absolute(task_config, config.hydra.runtime.cwd)
    return task_config


def read_arguments(call: Invocation, description: str, *, can_resume: bool) -> str:
    """Rewrite the arguments as Hydra takes them; show `--help` and exit if it is among them.

    Args:
        call: The invocation, whose overrides and resumed run are set.
        description: What the command does, for `--help`.
        can_resume: Whether `ckpt_path` names a run to continue.

    Returns:
        The name of the configuration to compose.

    Raises:
        UserError: If the arguments are wrong.
    """
    parser = get_args_parser()
    args = _parse_arguments(parser)
    if args.multirun and (args.config_dir is not None or args.config_path is not None):
        raise UserError(
            "--multirun: cannot be combined with --config-dir or --config-path; add a folder of "
            "configuration with hydra.searchpath=[file://DIR]"
        )
    options = [argument for argument in sys.argv[1:] if argument not in args.overrides]
    call.overrides = [_to_hydra_syntax(each) for each in args.overrides]
    config_name = args.config_name or call.command
    if can_resume and not args.multirun:
        call.resumed = find_resumed(call.overrides)
    if call.resumed is not None:
        if args.config_name is not None:
            raise UserError(
                "--config-name: cannot be combined with ckpt_path, which holds the settings"
            )
        config_name, call.overrides = ResumedRun.CONFIG_NAME, call.resumed.overrides
    if args.help:
        sys.stdout.write(help_text(description, _compose(config_name, call, args), parser))
        sys.exit(0)
    sys.argv[1:] = [*options, *call.overrides, FrontDoor.OVERRIDE]
    return config_name


def _parse_arguments(parser: ArgumentParser) -> Any:
    """Parse the command line; end the process if an option is unknown."""
    args, unknown = parser.parse_known_args()
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        if "=" in unknown[0]:
            fail(f"{unknown[0]}: put all KEY=VALUE arguments together, before or after options", 2)
        fail(f"unknown option {unknown[0]}{similar(unknown[0], options)}; see --help", 2)
    return args


def _to_hydra_syntax(override: str) -> str:
    """Write an override as Hydra takes it.

    `GROUP=null` becomes `GROUP=[]`. `GROUP=3` and a path that begins with `~` are quoted.
    `+GROUP.KEY` becomes `++GROUP.KEY`, which also replaces a key that is there.
    """
    key, _, value = override.partition("=")
    if not key:
        raise UserError(f"{override!r}: must be GROUP=CHOICE or KEY=VALUE")
    if key.lstrip("+~") == "output_dir":
        raise UserError("output_dir: cannot be set; set hydra.run.dir=DIR, or hydra.sweep.dir=DIR")
    if is_group(key) and value == "null":
        return f"{key}=[]"
    if re.fullmatch(r"\+\w+(\.\w+)+", key):
        key, override = f"+{key}", f"+{override}"
    is_not_text = re.fullmatch(r"[-+.\d]+|true|false", value, re.IGNORECASE) is not None
    if value.startswith("~") or (is_group(key) and is_not_text):
        return f"{key}={quoted_text(value)}"
    return override


def _compose(config_name: str, call: Invocation, args: Any) -> DictConfig:
    """Compose the configuration for the help, with the folders that the options name."""
    overrides = call.overrides
    if args.config_dir is not None:
        folder = quoted(f"file://{os.path.abspath(args.config_dir)}")
        overrides = [f"hydra.searchpath=[{folder}]", *overrides]
    conf_dir = CONF_DIR.parent / (args.config_path or CONF_DIR)
    with initialize_config_dir(str(conf_dir), version_base="1.3"):
        return compose(config_name, overrides, return_hydra_config=True)
