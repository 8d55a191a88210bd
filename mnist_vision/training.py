"""One run from its configuration to its results: data, model, trainer, fit, test."""

import logging
import os
import shlex
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from mnist_vision.accelerators import check_accelerator
from mnist_vision.callbacks.best_checkpoint import BestCheckpoint
from mnist_vision.callbacks.history import History
from mnist_vision.checkpoints import check_resumable, load_classifier
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.errors import FieldError, UserError, stop_behind
from mnist_vision.evaluation import TestResult, run_test
from mnist_vision.explain import first_line
from mnist_vision.files import PREDICTIONS_FILE, RESULTS_FILE, own_folder, write_json
from mnist_vision.memory import keep_freed_memory
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.quiet import quiet_libraries
from mnist_vision.results import environment, table, test_lines, write_predictions
from mnist_vision.resume import keep_environment
from mnist_vision.settings import settings_of, typed_overrides
from mnist_vision.tensorboard import log_test

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float:
    """Trains, tests the checkpoint that validation chose, and writes the results.

    Args:
        config: The composed `conf/train.yaml`.

    Returns:
        The best validation accuracy.

    Raises:
        UserError: If something the user can mend stands in the way.
    """
    output_dir = Path(config.output_dir)
    is_first_process = int(os.environ.get("LOCAL_RANK", 0)) == 0
    with own_folder(output_dir) if is_first_process else nullcontext():
        if is_first_process:
            keep_environment(config, output_dir)
        return _run(config, output_dir)


def _run(config: DictConfig, output_dir: Path) -> float:
    quiet_libraries()
    torch.set_flush_denormal(True)  # Adam's averages decay into denormals, which are slow
    keep_freed_memory()
    seed_everything(config.seed, workers=True, verbose=False)

    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    datamodule: MNISTDataModule = instantiate(config.data, _convert_="all")
    model: DigitClassifier = instantiate(config.model, _convert_="all")
    model.check_data(datamodule.gives_scenes)
    _set_recipe(model, config)
    history = History()
    callbacks = [*instantiate(config.callbacks, _convert_="all").values(), history]
    logger: Logger = instantiate(config.logger)
    trainer: Trainer = instantiate(config.trainer, callbacks=callbacks, logger=logger)
    _check_trainer(trainer, config)
    if config.ckpt_path is not None:
        _prepare_to_resume(output_dir, config, check_resumable(config.ckpt_path, model))
    else:
        model.load_pretrained()

    num_parameters, num_trainable = _count(model)
    if trainer.is_global_zero:
        log.info(
            f"{model.architecture}: {num_parameters:,} weights, {num_trainable:,} of them trained; "
            f"seed {config.seed}; on {trainer.strategy.root_device}; {output_dir}"
        )
    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=config.ckpt_path, weights_only=True)
    except BaseException as error:
        if trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGKILL)  # the other processes would wait
        if stop_behind(error) is not None and trainer.is_global_zero:
            _say_how_to_continue(output_dir, len(history.rows))
        raise
    _leave_process_group()
    # As the history has it: a search that is resumed is told the same, to the last digit.
    best_accuracy = max(row["val/accuracy"] for row in history.rows)
    if not trainer.is_global_zero:
        return best_accuracy

    final = history.rows[-1]
    best = trainer.checkpoint_callback
    tested = load_classifier(best.best_model_path)  # type: ignore[union-attr]
    outcome = run_test(tested, datamodule, accelerator=config.trainer.accelerator)
    results = {
        "version": 1,
        "architecture": model.architecture,
        "status": "completed",
        "seed": config.seed,
        "epochs": len(history.rows),
        "num_parameters": num_parameters,
        "num_trainable_parameters": num_trainable,
        "weights": model.hparams.get("weights"),
        "history": history.rows,
        "train": {"loss": final["train/loss"], "accuracy": final["train/accuracy"]},
        "test": outcome.summary(),
        "seconds": {"fit": final["seconds"], "test": round(outcome.seconds, 3)},
        "environment": environment(trainer),
        "overrides": _overrides(),
        "settings": settings_of(config),
    }
    write_predictions(output_dir / PREDICTIONS_FILE, outcome)
    write_json(output_dir / RESULTS_FILE, results)
    _log_outcome(logger, config, tested, datamodule, outcome, trainer.global_step)
    _show(results, output_dir)
    return best_accuracy


def _overrides() -> list[str]:
    """What the run was asked for on the command line; nothing where Hydra did not start it."""
    is_started_by_hydra = HydraConfig.initialized()
    return typed_overrides(HydraConfig.get().overrides.task) if is_started_by_hydra else []


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


def _prepare_to_resume(output_dir: Path, config: DictConfig, epochs_done: int) -> None:
    """Refuses a run that is complete; keeps the results of one that is to be trained on.

    A run that was stopped after its last epoch, but before its results, has these left to do.
    """
    max_epochs, results = config.trainer.max_epochs, output_dir / RESULTS_FILE
    if epochs_done > max_epochs or (epochs_done == max_epochs and results.exists()):
        raise UserError(
            f"ckpt_path={config.ckpt_path}: has finished epoch {epochs_done} of "
            f"trainer.max_epochs={max_epochs}; set trainer.max_epochs above {epochs_done} to "
            "train on"
        )
    if results.exists():
        os.replace(results, output_dir / f"results_epoch_{epochs_done}.json")


def _count(model: DigitClassifier) -> tuple[int, int]:
    """Number of weights, and of those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)


def _say_how_to_continue(output_dir: Path, num_epochs: int) -> None:
    last = output_dir / "checkpoints" / "last.ckpt"
    if last.exists():
        command = shlex.join(["python", "-m", "mnist_vision.train", f"ckpt_path={last}"])
        log.info("epochs completed: %d; continue with\n  %s", num_epochs, command)


def _leave_process_group() -> None:
    """Ends distributed training: the test that follows runs on one device alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _log_outcome(
    logger: Logger,
    config: DictConfig,
    model: DigitClassifier,
    datamodule: Any,
    outcome: TestResult,
    step: int,
) -> None:
    logger.log_metrics(outcome.metrics, step=step)
    log_test(logger, _hyperparameters(config), model, datamodule, outcome, step)
    logger.finalize("success")


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


def _show(results: dict[str, Any], output_dir: Path) -> None:
    """The table at the end, and where to look."""
    train, seconds = results["train"], results["seconds"]
    first = {
        "training loss": f"{train['loss']:.4f}",
        "training accuracy": f"{train['accuracy']:.4f}",
    }
    best = output_dir / "checkpoints" / "best.ckpt"
    last = {
        "training time": f"{seconds['fit']:.1f} s",
        "results": str(output_dir / RESULTS_FILE),
        "curves, pictures": f"tensorboard --logdir {output_dir}",
        "test it again": f"python -m mnist_vision.evaluate ckpt_path={best}",
    }
    for line in [*table(first), *test_lines(results["test"]), *table(last)]:
        log.info(line)
