"""One run from its configuration to its results: prepare, fit, test."""

import logging
import sys
from collections.abc import Callable
from functools import partial

import torch
from lightning import seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from mnist_vision.common.accelerators import has_bfloat16
from mnist_vision.common.errors import UserError, settings_of, stop_behind
from mnist_vision.common.files import explain_os_error, shown
from mnist_vision.common.memory import keep_freed_memory
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.evaluation.attribution import attribute_mistakes
from mnist_vision.evaluation.calibration import fit_scaling
from mnist_vision.evaluation.measure import TestResult, run_test, score_validation
from mnist_vision.evaluation.robustness import RobustnessResult, measure_robustness
from mnist_vision.models.classifier import DigitClassifier, to_probabilities
from mnist_vision.runs.file_names import ATTRIBUTIONS_FILE
from mnist_vision.runs.mistake_attributions import MistakeAttributions
from mnist_vision.runs.record import (
    BestEpoch,
    Results,
    Seconds,
    TrainFigures,
    TrainingResults,
    TrainingSeconds,
)
from mnist_vision.runs.settings import command_line, figure_settings
from mnist_vision.runs.summary import result_lines
from mnist_vision.training.callbacks.best_checkpoint import BestCheckpoint
from mnist_vision.training.checkpoints import (
    add_calibration,
    history_rows,
    load_classifier,
    read_checkpoint,
    rebuild_classifier,
)
from mnist_vision.training.ending import reason_of_end
from mnist_vision.training.environment import environment
from mnist_vision.training.parts import Parts, make_parts
from mnist_vision.training.processes import ProcessWatch
from mnist_vision.training.tensorboard import log_attributions, log_robustness, log_test

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float:
    """Train a network, test the checkpoint of the best validation accuracy, write the results.

    With `test=false`, the network is calibrated but not tested.

    Args:
        config: The composed `conf/train.yaml`. No other process may write to its `output_dir`; the
            commands lock it with `RunDirectory.take`.

    Returns:
        The best validation accuracy.

    Raises:
        UserError: If something that the user can fix stops the run.
    """
    return prepare(config)()


def prepare(config: DictConfig) -> Callable[[], float]:
    """Check whether a run can work, and write nothing.

    Args:
        config: The composed `conf/train.yaml`.

    Returns:
        What does the run; see `run`.

    Raises:
        UserError: If the settings cannot work.
    """
    quiet_libraries()
    torch.set_flush_denormal(True)  # Adam's averages decay into denormals, which are slow
    keep_freed_memory()
    seed_everything(config.seed, workers=True, verbose=False)
    return partial(_run, make_parts(config), config)


def _run(parts: Parts, config: DictConfig) -> float:
    try:
        if parts.trained is not None:
            results = parts.trained
            chosen = load_classifier(parts.directory.best_checkpoint)
        else:
            _load_weights(parts)
            _log_settings(parts, config)
            _fit(parts, config)
            if not parts.trainer.is_global_zero:
                return max(row.get("val/accuracy", 0) for row in parts.history.rows)
            chosen, best_row = _load_best(parts, config.trainer.accelerator)
            results = _make_results(parts, config, best_row)
        if config.test:
            results = _test(parts, chosen, results, config)
        else:
            parts.directory.write(results)
            _log_untested(parts, results)
    except BaseException as error:
        is_interrupted = isinstance(error, OSError) or stop_behind(error) is not None
        if is_interrupted and parts.trainer.is_global_zero:
            _say_how_to_continue(parts)
        raise
    finally:
        _finish_wandb()
    for line in result_lines(results, parts.directory):
        log.info(line)
    return results.best.val_accuracy


def _load_weights(parts: Parts) -> None:
    """Load pretrained weights; for a resumed run, put its old results aside instead."""
    if parts.checkpoint is not None:
        parts.directory.put_results_aside()
        return
    with settings_of("model"):
        parts.model.load_pretrained()


def _log_settings(parts: Parts, config: DictConfig) -> None:
    model, trainer = parts.model, parts.trainer
    device = trainer.strategy.root_device
    if trainer.is_global_zero:
        total, trained = _count_parameters(model)
        log.info(
            f"{model.architecture}: {total:,} weights, {trained:,} of them trained; "
            f"seed {config.seed}; on {device}, {trainer.precision}; {shown(parts.directory.path)}"
        )
    # Lightning accepts bfloat16 anywhere, and emulates it.
    if trainer.precision == "bf16-mixed" and not has_bfloat16(config.trainer.accelerator):
        log.warning(
            f"trainer.precision={trainer.precision}: very slow on this device, which does not "
            "compute in bfloat16; use trainer.precision=auto"
        )
    for logger in trainer.loggers:
        # TensorBoard takes them only together with the test metrics.
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(parts.hyperparameters)


def _fit(parts: Parts, config: DictConfig) -> None:
    """Train; if one of several processes dies, end the others."""
    trainer, ckpt_path = parts.trainer, config.ckpt_path
    with ProcessWatch(trainer.strategy.launcher) as watch:
        try:
            with settings_of("model"):
                trainer.fit(
                    parts.model, datamodule=parts.datamodule, ckpt_path=ckpt_path, weights_only=True
                )
        except BaseException as error:
            death = watch.explain()
            watch.kill()
            if death and stop_behind(error) is None and not isinstance(error, UserError):
                raise UserError(death) from error
            raise
    # The test runs on one device alone.
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _say_how_to_continue(parts: Parts) -> None:
    last = parts.directory.last_checkpoint
    if last.exists() and not parts.directory.is_complete:
        command = command_line("train", ckpt_path=last)
        log.info("epochs completed: %d; continue with\n  %s", parts.trainer.current_epoch, command)


def _load_best(parts: Parts, accelerator: str) -> tuple[DigitClassifier, int]:
    """Load the network that validation chose, and the index of its row of the history.

    It is calibrated on the validation images, and its checkpoint keeps the temperature.
    """
    callbacks = parts.trainer.callbacks  # type: ignore[attr-defined]
    path = next(each for each in callbacks if isinstance(each, BestCheckpoint)).best_model_path
    if not path:
        raise UserError("nothing was trained, so there is nothing to test; train for longer")
    checkpoint = read_checkpoint(path)
    model = rebuild_classifier(checkpoint, path)
    scores, targets = score_validation(model, parts.datamodule, accelerator=accelerator)
    scaling = fit_scaling(to_probabilities(scores.double()), targets)
    add_calibration(checkpoint, path, scaling)
    model.temperature, model.threshold = scaling.temperature, scaling.threshold
    return model, len(history_rows(checkpoint)) - 1


def _test(
    parts: Parts, tested: DigitClassifier, trained: TrainingResults, config: DictConfig
) -> Results:
    """Test the network that validation chose; write and log the results of the run."""
    outcome = run_test(tested, parts.datamodule, accelerator=config.trainer.accelerator)
    robustness = _measure_robustness(parts, tested, outcome, config)
    results = Results(
        **trained.model_dump(exclude={"seconds"}),
        test=outcome.figures(),
        calibration=outcome.calibration(tested.temperature, tested.threshold),
        seconds=Seconds(fit=trained.seconds.fit, test=outcome.seconds),
    )
    # The results come last: where they are, the run is complete.
    if robustness is not None:
        parts.directory.write(robustness.record)
    parts.directory.write(results, outcome.to_record())
    attributions = _explain_mistakes(parts, tested, outcome)
    step = int(results.history[-1]["step"])
    _log_test(parts, tested, outcome, robustness, attributions, step)
    return results


def _measure_robustness(
    parts: Parts, tested: DigitClassifier, outcome: TestResult, config: DictConfig
) -> RobustnessResult | None:
    """Measure the tested network under the suite of corruptions, if one is asked for."""
    if config.suite is None:
        return None
    return measure_robustness(
        tested,
        parts.datamodule,
        config.suite,
        ckpt_path=parts.directory.best_checkpoint,
        clean_accuracy=outcome.figures().accuracy,
        accelerator=config.trainer.accelerator,
    )


def _make_results(parts: Parts, config: DictConfig, best_row: int) -> TrainingResults:
    rows = parts.history.rows
    best, final = rows[best_row], rows[-1]
    total, trained = _count_parameters(parts.model)
    return TrainingResults(
        architecture=parts.model.architecture,
        seed=config.seed,
        epochs=final["epoch"],
        ended_by=reason_of_end(parts.trainer, final["epoch"], config.trainer),
        num_parameters=total,
        num_trainable_parameters=trained,
        weights=parts.model.hparams.get("weights"),
        history=rows,
        best=BestEpoch(
            epoch=best["epoch"], step=int(best["step"]), val_accuracy=best["val/accuracy"]
        ),
        train=TrainFigures(
            loss=parts.history.newest("train/loss"), accuracy=parts.history.newest("train/accuracy")
        ),
        seconds=TrainingSeconds(fit=final["seconds"]),
        environment=environment(parts.trainer),
        overrides=parts.settings.overrides,
        settings=figure_settings(config),
    )


def _count_parameters(model: DigitClassifier) -> tuple[int, int]:
    """Count the weights, and those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, is_trained in sizes if is_trained)


def _explain_mistakes(
    parts: Parts, tested: DigitClassifier, outcome: TestResult
) -> MistakeAttributions | None:
    """Keep where the network looked; an error of the file is a warning, as results are written."""
    attributions = attribute_mistakes(tested, parts.datamodule, outcome)
    try:
        parts.directory.write_attributions(attributions)
    except OSError as error:
        log.warning("%s: is not written: %s", ATTRIBUTIONS_FILE, explain_os_error(error))
    return attributions


def _log_test(
    parts: Parts,
    tested: DigitClassifier,
    outcome: TestResult,
    robustness: RobustnessResult | None,
    attributions: MistakeAttributions | None,
    step: int,
) -> None:
    """Log the test; an error of a file is a warning, as the results are written."""
    more = robustness.record.metrics() if robustness is not None else {}
    for logger in parts.trainer.loggers:
        try:
            if isinstance(logger, TensorBoardLogger):  # it logs the metrics with the settings
                log_test(logger, parts.hyperparameters, tested, parts.datamodule, outcome, step)
                if attributions is not None:
                    log_attributions(logger, attributions, step)
            else:
                logger.log_metrics(outcome.metrics | more, step=step)
            logger.finalize("success")
            if robustness is not None and isinstance(logger, TensorBoardLogger):
                log_robustness(logger.log_dir, robustness, step)
        except OSError as error:
            name = type(logger).__name__
            log.warning("%s lacks the test: %s", name, explain_os_error(error))


def _log_untested(parts: Parts, results: TrainingResults) -> None:
    """Log the settings with the validation accuracy; an error of a file is a warning."""
    for logger in parts.trainer.loggers:
        try:
            if isinstance(logger, TensorBoardLogger):
                figures = {"val/best_accuracy": results.best.val_accuracy}
                logger.log_hyperparams(parts.hyperparameters, figures, results.best.step)
            logger.finalize("success")
        except OSError as error:
            name = type(logger).__name__
            log.warning("%s lacks the settings: %s", name, explain_os_error(error))


def _finish_wandb() -> None:
    """Finish the run of Weights & Biases, or the next job of a sweep would go on with it."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()
