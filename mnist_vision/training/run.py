"""One run from its configuration to its results: data, model, trainer, fit, test."""

import logging
import signal
import sys
from dataclasses import dataclass
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.accelerators import check_accelerator
from mnist_vision.common.errors import UserError, first_line, settings_of, stop_behind
from mnist_vision.common.files import shown
from mnist_vision.common.memory import keep_freed_memory
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import TestResult, check_data, run_test
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import BestEpoch, Results, RunSettings, Seconds, TrainFigures
from mnist_vision.runs.settings import (
    check_unchanged,
    command_line,
    figure_settings,
    hyperparameters,
    run_settings,
    typed_overrides,
)
from mnist_vision.runs.summary import result_lines
from mnist_vision.training.callbacks.best_checkpoint import BestCheckpoint
from mnist_vision.training.callbacks.history import History
from mnist_vision.training.callbacks.kept_settings import KeptSettings
from mnist_vision.training.checkpoints import (
    epochs_done,
    read_checkpoint,
    read_resumable,
    rebuild_classifier,
    stored_settings,
)
from mnist_vision.training.environment import environment
from mnist_vision.training.tensorboard import log_test

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The parts of a run.

    Args:
        datamodule: Gives the batches.
        model: The network, with its recipe.
        trainer: Trains it, with all callbacks and loggers.
        history: Collects the metrics of each epoch.
        settings: What each checkpoint of the run carries.
        checkpoint: What training goes on from, if anything.
    """

    datamodule: MNISTDataModule
    model: DigitClassifier
    trainer: Trainer
    history: History
    settings: RunSettings
    checkpoint: dict[str, Any] | None


def run(config: DictConfig) -> float:
    """Train a network, test the checkpoint of the best validation accuracy, write the results.

    Args:
        config: The composed `conf/train.yaml`. No other process may write to its `output_dir`; the
            commands lock it with `RunDirectory.take`.

    Returns:
        The best validation accuracy.

    Raises:
        UserError: If something that the user can fix stops the run.
    """
    quiet_libraries()
    torch.set_flush_denormal(True)  # Adam's averages decay into denormals, which are slow
    keep_freed_memory()
    seed_everything(config.seed, workers=True, verbose=False)
    directory = RunDirectory(config.output_dir)
    try:
        parts = _make_parts(config)
        _load_weights(parts, config, directory)
        _log_settings(parts, config, directory)
        _fit(parts, config, directory)
        if not parts.trainer.is_global_zero:
            return max(row["val/accuracy"] for row in parts.history.rows)
        tested, epoch = _load_best(parts.trainer)
        outcome = run_test(tested, parts.datamodule, accelerator=config.trainer.accelerator)
        results = _make_results(parts, config, outcome, epoch)
        directory.write(results, outcome.to_record())
        _log_test(parts, config, tested, outcome)
    finally:
        _finish_wandb()
    for line in result_lines(results, directory):
        log.info(line)
    return results.best.val_accuracy


def _make_parts(config: DictConfig) -> Parts:
    """Make the parts, and check that they go together, before anything takes time."""
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    datamodule: MNISTDataModule = instantiate(config.data, _convert_="all")
    model: DigitClassifier = instantiate(config.model, _convert_="all")
    check_data(model, datamodule)
    _set_recipe(model, config)
    checkpoint = _read_checkpoint(config)
    history, settings = History(), _settings(config, checkpoint)
    callbacks = instantiate(config.callbacks, _convert_="all").values()
    loggers: list[Logger] = list(instantiate(config.get("logger") or {}).values())
    trainer: Trainer = instantiate(
        config.trainer, callbacks=[*callbacks, history, KeptSettings(settings)], logger=loggers
    )
    if not loggers:
        trainer.logger = DummyLogger()  # LearningRateMonitor refuses to work without one
    _check_trainer(trainer, config)
    return Parts(datamodule, model, trainer, history, settings, checkpoint)


def _set_recipe(model: DigitClassifier, config: DictConfig) -> None:
    """Give the network its optimizer and schedule; try both first, before data is loaded."""
    make_optimizer, make_scheduler = instantiate(config.optimizer), instantiate(config.scheduler)
    try:
        optimizer = make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    with settings_of("scheduler"):
        make_scheduler(optimizer, 1)
    model.set_recipe(make_optimizer, make_scheduler)


def _read_checkpoint(config: DictConfig) -> dict[str, Any] | None:
    """Read the checkpoint that training goes on from, if any; check that the settings fit it."""
    if config.ckpt_path is None:
        return None
    checkpoint = read_resumable(config.ckpt_path)
    check_unchanged(stored_settings(checkpoint, config.ckpt_path).settings, config)
    return checkpoint


def _settings(config: DictConfig, checkpoint: dict[str, Any] | None) -> RunSettings:
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


def _check_trainer(trainer: Trainer, config: DictConfig) -> None:
    """Raise for settings that Lightning accepts and a run cannot work with."""
    if not isinstance(trainer.checkpoint_callback, BestCheckpoint):
        raise UserError("callbacks.best_checkpoint is missing: it keeps the network that is tested")
    # Lightning accepts bf16 anywhere. Emulated, matrix products were a hundred times slower.
    is_bf16 = "bf16" in str(trainer.precision) and trainer.strategy.root_device.type == "cpu"
    if is_bf16 and not torch.cpu.get_capabilities().get("avx512_bf16", True):
        log.warning(
            f"trainer.precision={trainer.precision}: very slow on this processor, which has no "
            "bf16 arithmetic; use trainer.precision=32-true"
        )
    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if is_sweep and trainer.strategy.launcher is not None:
        raise UserError(
            f"trainer.devices={config.trainer.devices}: several processes in a sweep would each "
            "start the whole sweep; run its jobs one by one, or with trainer=default"
        )


def _load_weights(parts: Parts, config: DictConfig, directory: RunDirectory) -> None:
    """Load pretrained weights; for a resumed run, put its old results aside instead.

    If a run stopped after its last epoch but before its test, only the test is run.
    """
    if parts.checkpoint is None:
        with settings_of("model"):
            parts.model.load_pretrained()
        return
    num_epochs, max_epochs = epochs_done(parts.checkpoint), config.trainer.max_epochs
    is_complete = directory.find(Results) is not None
    if num_epochs > max_epochs or (num_epochs == max_epochs and is_complete):
        raise UserError(
            f"ckpt_path={shown(config.ckpt_path)}: already trained for {num_epochs} epochs, "
            f"with trainer.max_epochs={max_epochs}; set it above {num_epochs} to continue"
        )
    directory.put_results_aside()


def _log_settings(parts: Parts, config: DictConfig, directory: RunDirectory) -> None:
    model, trainer = parts.model, parts.trainer
    if trainer.is_global_zero:
        total, trained = _count_parameters(model)
        log.info(
            f"{model.architecture}: {total:,} weights, {trained:,} of them trained; "
            f"seed {config.seed}; on {trainer.strategy.root_device}; {shown(directory.path)}"
        )
    for logger in trainer.loggers:
        # TensorBoard takes them only together with the test metrics.
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyperparameters(config))


def _fit(parts: Parts, config: DictConfig, directory: RunDirectory) -> None:
    """Train; if a signal stops it, say how to go on."""
    trainer, ckpt_path = parts.trainer, config.ckpt_path
    try:
        with settings_of("model"):
            trainer.fit(
                parts.model, datamodule=parts.datamodule, ckpt_path=ckpt_path, weights_only=True
            )
    except BaseException as error:
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)  # the other processes would wait
        if stop_behind(error) is not None and trainer.is_global_zero:
            _say_how_to_continue(directory, len(parts.history.rows))
        raise
    # The test runs on one device alone.
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _say_how_to_continue(directory: RunDirectory, num_epochs: int) -> None:
    if directory.last_checkpoint.exists():
        command = command_line("train", ckpt_path=directory.last_checkpoint)
        log.info("epochs completed: %d; continue with\n  %s", num_epochs, command)


def _load_best(trainer: Trainer) -> tuple[DigitClassifier, int]:
    """Load the network that validation chose, and the number of its epoch."""
    path = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    if not path:
        raise UserError("no epoch was completed, so there is nothing to test; train for longer")
    checkpoint = read_checkpoint(path)
    return rebuild_classifier(checkpoint, path), epochs_done(checkpoint)


def _make_results(
    parts: Parts, config: DictConfig, outcome: TestResult, best_epoch: int
) -> Results:
    rows = parts.history.rows
    best, final = rows[best_epoch - 1], rows[-1]
    total, trained = _count_parameters(parts.model)
    return Results(
        architecture=parts.model.architecture,
        seed=config.seed,
        epochs=len(rows),
        num_parameters=total,
        num_trainable_parameters=trained,
        weights=parts.model.hparams.get("weights"),
        history=rows,
        best=BestEpoch(epoch=best_epoch, val_accuracy=best["val/accuracy"]),
        train=TrainFigures(loss=final["train/loss"], accuracy=final["train/accuracy"]),
        test=outcome.figures(),
        seconds=Seconds(fit=final["seconds"], test=outcome.seconds),
        environment=environment(parts.trainer),
        overrides=parts.settings.overrides,
        settings=figure_settings(config),
    )


def _count_parameters(model: DigitClassifier) -> tuple[int, int]:
    """Count the weights, and those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, is_trained in sizes if is_trained)


def _log_test(
    parts: Parts, config: DictConfig, tested: DigitClassifier, outcome: TestResult
) -> None:
    step = parts.trainer.global_step
    for logger in parts.trainer.loggers:
        logger.log_metrics(outcome.metrics, step=step)
        log_test(logger, hyperparameters(config), tested, parts.datamodule, outcome, step)
        logger.finalize("success")


def _finish_wandb() -> None:
    """Finish the run of Weights & Biases, or the next job of a sweep would go on with it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()
