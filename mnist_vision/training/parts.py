"""Make the parts of a run, and check that they go together, before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mnist_vision.common.accelerators import (
    check_accelerator,
    check_devices,
    choose_precision,
    is_cpu,
)
from mnist_vision.common.errors import FieldError, UserError, first_line, settings_of
from mnist_vision.common.files import shown
from mnist_vision.common.instantiation import make
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import check_data
from mnist_vision.evaluation.robustness import check_suite
from mnist_vision.models.classifier import DigitClassifier, OptimizerFactory, SchedulerFactory
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Results, RunSettings, TrainingResults
from mnist_vision.runs.settings import (
    check_unchanged,
    hyperparameters,
    run_settings,
    typed_overrides,
)
from mnist_vision.training.callbacks.batch_limits import BatchLimits
from mnist_vision.training.callbacks.best_checkpoint import BestCheckpoint
from mnist_vision.training.callbacks.final_validation import FinalValidation
from mnist_vision.training.callbacks.history import History
from mnist_vision.training.callbacks.kept_settings import KeptSettings
from mnist_vision.training.callbacks.step_limit import StepLimit
from mnist_vision.training.checkpoints import epochs_done, read_resumable, stored_settings
from mnist_vision.training.compilation import compile_losses
from mnist_vision.training.resume_checks import check_resumable

# Callbacks of Lightning that a run cannot work with.
_UNUSABLE: dict[type, str] = {
    BackboneFinetuning: "needs a network with an attribute `backbone`; a pretrained network has "
    "model.num_trainable_blocks and model.backbone_lr_ratio",
    BatchSizeFinder: "changes data.batch_size, by which runs are compared; compare sizes with "
    "--multirun data.batch_size=64,128,256",
    LearningRateFinder: "changes optimizer.lr, by which runs are compared; compare rates with "
    "--multirun optimizer.lr=0.0003,0.001,0.003",
    ModelPruning: "cannot prune weights in channels-last order, which all networks here have",
    SpikeDetection: "would end a resumed run with an error: Lightning cannot restore its state",
    OnExceptionCheckpoint: "would make Lightning choose a checkpoint to resume from; each run "
    "keeps its last.ckpt, and ckpt_path resumes from it",
    StochasticWeightAveraging: "would train for one more epoch; use callbacks=ema, or "
    "lightning.pytorch.callbacks.WeightAveraging",
}


@dataclass(frozen=True)
class Parts:
    """The parts of a run.

    Args:
        datamodule: Gives the batches.
        model: The network, with its recipe.
        trainer: Trains it, with all callbacks and loggers.
        history: Collects the metrics.
        settings: What each checkpoint of the run carries.
        hyperparameters: The settings that loggers get.
        directory: Where the run writes.
        checkpoint: What training goes on from, if anything.
        trained: The results of the run, if only its test is missing.
    """

    datamodule: MNISTDataModule
    model: DigitClassifier
    trainer: Trainer
    history: History
    settings: RunSettings
    hyperparameters: dict[str, Any]
    directory: RunDirectory
    checkpoint: dict[str, Any] | None
    trained: TrainingResults | None


def make_parts(config: DictConfig) -> Parts:
    """Make the parts of a run; write nothing.

    Args:
        config: The composed `conf/train.yaml`.

    Raises:
        UserError: If they cannot be made, or do not go together.
    """
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    check_devices(config.trainer.devices, config.trainer.accelerator)
    # Lightning would go on with bf16-mixed.
    if config.trainer.precision == "16-mixed" and is_cpu(config.trainer.accelerator):
        raise UserError("trainer.precision=16-mixed: needs a GPU; use bf16-mixed or 32-true")
    directory = RunDirectory(config.output_dir)
    datamodule: MNISTDataModule = make(config, "data")
    model: DigitClassifier = make(config, "model")
    check_data(model, datamodule)
    check_suite(config.suite, datamodule)
    if config.suite is not None and not config.test:
        raise FieldError("suite", config.suite, "needs test=true; leave one of them out")
    recipe = _set_recipe(model, config)
    checkpoint = _read_checkpoint(config)
    trained = _find_trained(config, directory, checkpoint)
    history, settings = History(), _collect_settings(config, checkpoint)
    for logger in (config.get("logger") or {}).values():
        if checkpoint is not None and trained is None and "purge_step" in logger:
            logger.purge_step = checkpoint["global_step"]  # later steps will be logged again
    loggers: list[Logger] = list(make(config, "logger").values())
    chosen = make(config, "callbacks")
    _check_callbacks(chosen)
    # The history comes first, so that other callbacks find the newest row. Lightning calls the
    # checkpoints last, in this order: the final validation comes before them.
    callbacks = [history, BatchLimits(), StepLimit(config.trainer.get("max_steps", -1))]
    callbacks += [FinalValidation(), *chosen.values(), KeptSettings(settings)]
    make_trainer = make(config, "trainer", _partial_=True)
    precision = choose_precision(config.trainer.precision, config.trainer.accelerator)
    try:
        trainer: Trainer = make_trainer(
            callbacks=callbacks, logger=loggers, max_steps=-1, precision=precision
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"trainer: {first_line(error)}") from error
    if not loggers:
        trainer.logger = DummyLogger()  # LearningRateMonitor refuses to work without one
    profiler: Profiler = trainer.profiler  # type: ignore[attr-defined]
    if config.trainer.profiler is not None and profiler.dirpath is None:
        profiler.dirpath, profiler.filename = directory.path, "profile"
    _check_trainer(trainer, config)
    if checkpoint is not None:
        check_resumable(checkpoint, config.ckpt_path, model, recipe, trainer)
    if config.compile and trained is None:
        compile_losses(model, trainer.strategy.root_device)
    names = hyperparameters(config) | {"precision": precision}
    return Parts(
        datamodule, model, trainer, history, settings, names, directory, checkpoint, trained
    )


def _set_recipe(
    model: DigitClassifier, config: DictConfig
) -> tuple[OptimizerFactory, SchedulerFactory]:
    """Give the network its optimizer and schedule; try both first, before data is loaded."""
    make_optimizer, make_scheduler = make(config, "optimizer"), make(config, "scheduler")
    max_steps = config.trainer.get("max_steps", -1)
    try:
        optimizer = make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    with settings_of("scheduler"):
        make_scheduler(optimizer, 1)

    def make_limited_scheduler(optimizer: Optimizer, num_steps: int) -> LRScheduler:
        limited: LRScheduler = make_scheduler(
            optimizer, num_steps if max_steps < 0 else min(num_steps, max_steps)
        )
        return limited

    model.set_recipe(make_optimizer, make_limited_scheduler)
    return make_optimizer, make_limited_scheduler


def _read_checkpoint(config: DictConfig) -> dict[str, Any] | None:
    """Read the checkpoint that training goes on from, if any."""
    if config.ckpt_path is None:
        return None
    checkpoint = read_resumable(config.ckpt_path)
    check_unchanged(stored_settings(checkpoint, config.ckpt_path).settings, config)
    return checkpoint


def _find_trained(
    config: DictConfig, directory: RunDirectory, checkpoint: dict[str, Any] | None
) -> TrainingResults | None:
    """Find the results of a resumed run that lacks nothing but its test, which is asked for.

    Raises:
        UserError: If there is nothing to do.
    """
    if checkpoint is None:
        return None
    results, num_epochs = directory.find_results(), epochs_done(checkpoint)
    reason = _explain_complete(results, num_epochs, config)
    if reason is None:
        return None
    is_as_long = num_epochs <= config.trainer.max_epochs
    if is_as_long and results is not None and config.test and not isinstance(results, Results):
        return results
    raise UserError(f"ckpt_path={shown(config.ckpt_path)}: {reason}")


def _explain_complete(
    results: TrainingResults | None, num_epochs: int, config: DictConfig
) -> str | None:
    """Explain why a run needs no more training; None if it does.

    A run without results that stopped after its last epoch needs no more epochs, but it goes on.
    """
    max_epochs = config.trainer.max_epochs
    if num_epochs > max_epochs or (num_epochs == max_epochs and results is not None):
        return (
            f"already trained for {num_epochs} epochs, with trainer.max_epochs={max_epochs}; set "
            f"it above {num_epochs} to continue"
        )
    if results is None or results.ended_by is None:
        return None
    if not results.ended_by.startswith("trainer."):  # a callback ended it; callbacks cannot change
        return f"already complete: {results.ended_by}; start a new run"
    key, _, value = results.ended_by.partition("=")
    if value == str(OmegaConf.select(config, key)):
        return f"already complete, ended by {key}={value}; set another {key}"
    return None


def _collect_settings(config: DictConfig, checkpoint: dict[str, Any] | None) -> RunSettings:
    """Collect what the checkpoints carry; a resumed run keeps what it was started with."""
    overrides: list[str] = []
    choices: dict[str, Any] = {}
    if HydraConfig.initialized():
        overrides = typed_overrides(HydraConfig.get().overrides.task)
        choices = OmegaConf.to_container(HydraConfig.get().runtime.choices)  # type: ignore[assignment]
    if checkpoint is not None:
        started = stored_settings(checkpoint, config.ckpt_path)
        # The last of two overrides of one key counts.
        by_key = {each.partition("=")[0]: each for each in (*started.overrides, *overrides)}
        overrides, choices = list(by_key.values()), choices | started.choices
    overrides = [each for each in overrides if not each.startswith(("ckpt_path=", "overwrite="))]
    return RunSettings(settings=run_settings(config), choices=choices, overrides=overrides)


def _check_callbacks(callbacks: Mapping[str, Callback]) -> None:
    if not any(isinstance(callback, BestCheckpoint) for callback in callbacks.values()):
        raise UserError("callbacks.best_checkpoint is missing: it keeps the network that is tested")
    for name, callback in callbacks.items():
        reason = _UNUSABLE.get(type(callback))
        if reason is not None:
            raise UserError(f"callbacks.{name}: {type(callback).__name__} {reason}")


def _check_trainer(trainer: Trainer, config: DictConfig) -> None:
    """Raise for settings that Lightning accepts and a run cannot work with."""
    settings, launcher = config.trainer, trainer.strategy.launcher
    algorithm = settings.get("gradient_clip_algorithm")
    if algorithm is not None and not settings.get("gradient_clip_val"):
        problem = "is for trainer.gradient_clip_val, which is not set; set it, or leave both out"
        raise FieldError("trainer.gradient_clip_algorithm", algorithm, problem)
    overfit_batches = settings.get("overfit_batches")
    for key in ("limit_train_batches", "limit_val_batches"):
        limit = settings.get(key, 1.0)
        if overfit_batches and (limit != 1 or isinstance(limit, int)):  # 1 is one batch, 1.0 is all
            problem = f"is not used with trainer.overfit_batches={overfit_batches}"
            raise FieldError(f"trainer.{key}", limit, f"{problem}; leave one of them out")
    # In a notebook, "auto" starts processes that do not bring the network back.
    if isinstance(launcher, _MultiProcessingLauncher):
        raise UserError("trainer.devices: several devices need a terminal; use 1 in a notebook")
    scales_gradients = settings.precision == "16-mixed" and config.optimizer.get("fused")
    if scales_gradients and settings.gradient_clip_val:
        raise UserError(
            f"trainer.gradient_clip_val={settings.gradient_clip_val}: cannot be used with "
            "trainer.precision=16-mixed and a fused optimizer; use bf16-mixed, or add "
            "optimizer.fused=false"
        )
    if settings.sync_batchnorm and trainer.strategy.root_device.type == "cpu":
        raise UserError("trainer.sync_batchnorm=true: works on GPUs only; leave it out")
    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if is_sweep and launcher is not None:
        raise UserError(
            f"trainer.devices={settings.devices}: several processes in a sweep would each "
            "start the whole sweep; run its jobs one by one, or with trainer=default"
        )
