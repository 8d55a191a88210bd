"""One run from its configuration to its results: data, model, trainer, fit, test."""

import logging
import shlex
import signal
import sys
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
from mnist_vision.common.errors import FieldError, UserError, first_line, stop_behind
from mnist_vision.common.files import shown
from mnist_vision.common.memory import keep_freed_memory
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import run_test
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import BestEpoch, Results, RunSettings, Seconds, TrainFigures
from mnist_vision.runs.settings import (
    check_unchanged,
    command_line,
    figure_settings,
    run_settings,
    typed_overrides,
)
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
from mnist_vision.training.environment import environment, table, test_lines
from mnist_vision.training.tensorboard import log_test

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float:
    """Trains, tests the checkpoint that validation chose, and writes the results.

    Args:
        config: The composed `conf/train.yaml`. No other process may write to its `output_dir`:
            the commands hold it (`RunDirectory.take`).

    Returns:
        The best validation accuracy.

    Raises:
        UserError: If something the user can mend stands in the way.
    """
    try:
        return _run(config, RunDirectory(config.output_dir))
    finally:
        _finish_wandb()


def _run(config: DictConfig, directory: RunDirectory) -> float:
    quiet_libraries()
    torch.set_flush_denormal(True)  # Adam's averages decay into denormals, which are slow
    keep_freed_memory()
    seed_everything(config.seed, workers=True, verbose=False)

    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    datamodule: MNISTDataModule = instantiate(config.data, _convert_="all")
    model: DigitClassifier = instantiate(config.model, _convert_="all")
    model.check_data(datamodule.gives_scenes)
    _set_recipe(model, config)
    checkpoint = _read_checkpoint(config)
    history = History()
    kept = KeptSettings(_settings(config, checkpoint))
    callbacks = [*instantiate(config.callbacks, _convert_="all").values(), history, kept]
    loggers: list[Logger] = list(instantiate(config.get("logger") or {}).values())
    trainer: Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
    if not loggers:
        trainer.logger = DummyLogger()  # LearningRateMonitor refuses to work without one
    _check_trainer(trainer, config)
    if checkpoint is not None:
        _prepare_to_resume(directory, config, epochs_done(checkpoint))
    else:
        model.load_pretrained()

    num_parameters, num_trainable = _count(model)
    if trainer.is_global_zero:
        log.info(
            f"{model.architecture}: {num_parameters:,} weights, {num_trainable:,} of them trained; "
            f"seed {config.seed}; on {trainer.strategy.root_device}; {shown(directory.path)}"
        )
    hyperparameters = _hyperparameters(config)
    for logger in loggers:
        # TensorBoard takes them only together with the test metrics.
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyperparameters)
    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=config.ckpt_path, weights_only=True)
    except BaseException as error:
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)  # the other processes would wait
        if stop_behind(error) is not None and trainer.is_global_zero:
            _say_how_to_continue(directory, len(history.rows))
        raise
    _leave_process_group()
    if not trainer.is_global_zero:
        return max(row["val/accuracy"] for row in history.rows)

    best_path = trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    if not best_path:
        raise UserError(
            "no epoch was completed, so that there is nothing to test; train for longer"
        )
    chosen = read_checkpoint(best_path)
    tested = rebuild_classifier(chosen, best_path)
    outcome = run_test(tested, datamodule, accelerator=config.trainer.accelerator)
    best, final = history.rows[epochs_done(chosen) - 1], history.rows[-1]
    results = Results(
        architecture=model.architecture,
        seed=config.seed,
        epochs=len(history.rows),
        num_parameters=num_parameters,
        num_trainable_parameters=num_trainable,
        weights=model.hparams.get("weights"),
        history=history.rows,
        best=BestEpoch(epoch=epochs_done(chosen), val_accuracy=best["val/accuracy"]),
        train=TrainFigures(loss=final["train/loss"], accuracy=final["train/accuracy"]),
        test=outcome.figures(),
        seconds=Seconds(fit=final["seconds"], test=outcome.seconds),
        environment=environment(trainer),
        overrides=kept.settings.overrides,
        settings=figure_settings(config),
    )
    directory.write_results(results, outcome.predictions())
    for logger in loggers:
        logger.log_metrics(outcome.metrics, step=trainer.global_step)
        log_test(logger, hyperparameters, tested, datamodule, outcome, trainer.global_step)
        logger.finalize("success")
    _show(results, directory)
    return results.best.val_accuracy


def _read_checkpoint(config: DictConfig) -> dict[str, Any] | None:
    """The checkpoint that training goes on from, if any, known to fit the settings."""
    if config.ckpt_path is None:
        return None
    checkpoint = read_resumable(config.ckpt_path)
    check_unchanged(stored_settings(checkpoint, config.ckpt_path).settings, config)
    return checkpoint


def _settings(config: DictConfig, checkpoint: dict[str, Any] | None) -> RunSettings:
    """What the checkpoints of the run carry; a resumed run keeps what it was started with."""
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


def _finish_wandb() -> None:
    """Finish the run of Weights & Biases: the next job of a sweep would be logged into it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()


def _set_recipe(model: DigitClassifier, config: DictConfig) -> None:
    make_optimizer, make_scheduler = instantiate(config.optimizer), instantiate(config.scheduler)
    # A rehearsal: what the two do not accept is better known now than after the data.
    try:
        optimizer = make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {first_line(error)}") from error
    try:
        make_scheduler(optimizer, 1)
    except FieldError as error:
        raise FieldError(f"scheduler.{error.field}", error.value, error.allowed) from error
    model.set_recipe(make_optimizer, make_scheduler)


def _check_trainer(trainer: Trainer, config: DictConfig) -> None:
    """Raises for settings that Lightning accepts and this program cannot work with."""
    if not isinstance(trainer.checkpoint_callback, BestCheckpoint):
        raise UserError("callbacks.best_checkpoint is missing: it keeps the network that is tested")
    # Lightning takes it anywhere. Emulated, matrix products were a hundred times slower.
    is_bf16 = "bf16" in str(trainer.precision) and trainer.strategy.root_device.type == "cpu"
    if is_bf16 and not torch.cpu.get_capabilities().get("avx512_bf16", True):
        log.warning(
            f"trainer.precision={trainer.precision}: very slow on this processor, without bf16 "
            "arithmetic; trainer.precision=32-true is what it is good at"
        )
    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if is_sweep and trainer.strategy.launcher is not None:
        raise UserError(
            f"trainer.devices={config.trainer.devices}: several processes in a sweep would each "
            "start the whole sweep; run its jobs one by one, or with trainer=default"
        )


def _prepare_to_resume(directory: RunDirectory, config: DictConfig, num_epochs: int) -> None:
    """Refuses a run that is complete; keeps the results of one that is to be trained on.

    A run that was stopped after its last epoch, but before its results, has these left to do.
    """
    max_epochs, is_complete = config.trainer.max_epochs, directory.find_results() is not None
    if num_epochs > max_epochs or (num_epochs == max_epochs and is_complete):
        raise UserError(
            f"ckpt_path={shown(config.ckpt_path)}: has finished epoch {num_epochs} of "
            f"trainer.max_epochs={max_epochs}; set trainer.max_epochs above {num_epochs} to "
            "train on"
        )
    directory.put_results_aside()


def _count(model: DigitClassifier) -> tuple[int, int]:
    """Number of weights, and of those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)


def _say_how_to_continue(directory: RunDirectory, num_epochs: int) -> None:
    if directory.last_checkpoint.exists():
        command = command_line("train", ckpt_path=directory.last_checkpoint)
        log.info("epochs completed: %d; continue with\n  %s", num_epochs, command)


def _leave_process_group() -> None:
    """Ends distributed training: the test that follows runs on one device alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _hyperparameters(config: DictConfig) -> dict[str, Any]:
    """The settings that runs are compared by; a part goes by the last name of its target."""
    chosen = {
        "seed": config.seed,
        "model": config.model,
        "optimizer": config.optimizer,
        "scheduler": config.scheduler,
        "batch_size": config.data.batch_size,
        "augmentation": config.data.augmentation,
        "max_epochs": config.trainer.max_epochs,
        "precision": config.trainer.precision,
    }

    def tidy(settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        named = {k: tidy(v) for k, v in settings.items() if not k.startswith("_")}
        target = settings.get("_target_")
        return {"name": target.rpartition(".")[2]} | named if target else named

    hyperparameters: dict[str, Any] = tidy(OmegaConf.to_container(OmegaConf.create(chosen)))
    return hyperparameters


def _show(results: Results, directory: RunDirectory) -> None:
    """The table at the end, and where to look."""
    first = {
        "training loss": f"{results.train.loss:.4f}",
        "training accuracy": f"{results.train.accuracy:.4f}",
    }
    last = {
        "training time": f"{results.seconds.fit:.1f} s",
        "results": str(shown(directory.results_path)),
    }
    if (directory.path / "tensorboard").is_dir():
        command = shlex.join(["tensorboard", "--logdir", str(shown(directory.path))])
        last["curves, pictures"] = command
    last["test it again"] = command_line("evaluate", ckpt_path=directory.best_checkpoint)
    for line in [*table(first), *test_lines(results.test), *table(last)]:
        log.info(line)
