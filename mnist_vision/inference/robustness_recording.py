"""Measure the network of a checkpoint under a suite of corruptions, and record the figures."""

import logging
import os
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import explain_os_error, shown
from mnist_vision.common.instantiation import make
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import TestResult
from mnist_vision.evaluation.robustness import RobustnessResult, check_suite, measure_robustness
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Results
from mnist_vision.training.checkpoints import read_checkpoint, rebuild_classifier
from mnist_vision.training.tensorboard import log_robustness

log = logging.getLogger(__name__)


def record_robustness(
    model: DigitClassifier, datamodule: MNISTDataModule, outcome: TestResult, config: DictConfig
) -> None:
    """Measure a tested network under the suite of `evaluate`, and write `robustness.json`.

    It is also written into the run that the network comes from, if that run is complete, tested its
    `best.ckpt` on the same digits, and this is that file. A failure to do so is a warning.

    Args:
        model: The network.
        datamodule: Gives the test images.
        outcome: Its test without corruptions.
        config: The composed `conf/evaluate.yaml`.
    """
    result = measure_robustness(
        model,
        datamodule,
        config.suite,
        ckpt_path=config.ckpt_path,
        clean_accuracy=outcome.figures().accuracy,
        accelerator=config.trainer.accelerator,
    )
    path = RunDirectory(config.output_dir).write(result.record)
    log.info("robustness         %s", shown(path))
    run = RunDirectory.of_checkpoint(config.ckpt_path)
    if run is None:
        return
    try:
        with run.lock("ckpt_path"):
            if _is_tested_by(run, config.ckpt_path, outcome):
                log.info("                   %s", shown(_write_to_run(run, result)))
    except UserError:
        log.warning("%s: in use or not writable, so it has no robustness.json", shown(run.path))
    except OSError as error:
        log.warning("%s: robustness.json: %s", shown(run.path), explain_os_error(error))


def add_robustness(directory: RunDirectory, config: DictConfig) -> None:
    """Measure the tested network of a complete run, whose directory is locked, under a suite.

    Args:
        directory: Of the run.
        config: The composed `conf/train.yaml` with its settings and the suite.

    Raises:
        UserError: If the data show several digits an image, or the checkpoint cannot be used.
    """
    datamodule: MNISTDataModule = make(config, "data")
    check_suite(config.suite, datamodule)
    model = rebuild_classifier(
        read_checkpoint(directory.best_checkpoint), directory.best_checkpoint
    )
    datamodule.prepare_data()
    result = measure_robustness(
        model,
        datamodule,
        config.suite,
        ckpt_path=directory.best_checkpoint,
        clean_accuracy=directory.read(Results).test.accuracy,
        accelerator=config.trainer.accelerator,
    )
    _write_to_run(directory, result)


def _is_tested_by(run: RunDirectory, ckpt_path: str, outcome: TestResult) -> bool:
    """Test whether the results of a run are those of this checkpoint, on the same digits."""
    path, best = Path(os.path.expanduser(ckpt_path)), run.best_checkpoint
    if not best.exists() or not best.samefile(path) or run.find(Results) is None:
        return False
    try:
        tested = run.read_predictions()
    except UserError:
        return False
    return np.array_equal(tested.targets, outcome.targets.numpy())


def _write_to_run(run: RunDirectory, result: RobustnessResult) -> Path:
    path = run.write(result.record)
    folder = run.path / "tensorboard"
    if folder.is_dir():  # of its logger
        last_row = run.read(Results).history[-1]
        log_robustness(folder, result, int(last_row.get("step", 0)))
    return path
