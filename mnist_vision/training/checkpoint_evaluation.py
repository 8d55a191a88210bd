"""Test the network of a checkpoint on all test images, and record the result."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.accelerators import check_accelerator
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown
from mnist_vision.common.instantiation import make
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import check_data, run_test
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Evaluation
from mnist_vision.runs.summary import figure_lines
from mnist_vision.runs.targets import check_targets
from mnist_vision.training.checkpoints import read_checkpoint, rebuild_classifier, stored_settings

log = logging.getLogger(__name__)


def prepare(config: DictConfig) -> Callable[[], float]:
    """Read a checkpoint, and check that it can be tested; write nothing.

    Args:
        config: The composed `conf/evaluate.yaml`.

    Returns:
        What tests it, and returns the test accuracy. The figures equal those in the results of its
        run.

    Raises:
        UserError: If the checkpoint cannot be used.
    """
    quiet_libraries()
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    checkpoint = read_checkpoint(config.ckpt_path)
    model = rebuild_classifier(checkpoint, config.ckpt_path)
    OmegaConf.set_struct(config, False)
    config.data = _data_settings(config, checkpoint)
    datamodule = make(config, "data")
    if not isinstance(datamodule, MNISTDataModule):
        raise UserError(
            f"ckpt_path={shown(config.ckpt_path)}: its settings name no data; add data=NAME"
        )
    check_data(model, datamodule)
    return partial(_test, model, datamodule, config)


def _test(model: DigitClassifier, datamodule: MNISTDataModule, config: DictConfig) -> float:
    outcome = run_test(model, datamodule, accelerator=config.trainer.accelerator)
    evaluation = Evaluation(
        architecture=model.architecture,
        ckpt_path=str(Path(config.ckpt_path).expanduser().resolve()),
        test=outcome.figures(),
        seconds={"test": outcome.seconds},
    )
    path = RunDirectory(config.output_dir).write(evaluation, outcome.to_record())
    log.info("%s from %s", model.architecture, shown(config.ckpt_path))
    for line in figure_lines(evaluation.test):
        log.info(line)
    log.info("results            %s", shown(path))
    return evaluation.test.accuracy


def _data_settings(config: DictConfig, checkpoint: dict[str, Any]) -> Any:
    """Choose the data: that of the command line or, with its changes, that of the training.

    Raises:
        UserError: If the command line names none, and the checkpoint lacks the settings of its run.
    """
    if "_target_" in config.data:
        return config.data
    trained_on = stored_settings(checkpoint, config.ckpt_path).settings.get("data")
    check_targets({"data": trained_on}, CONF_DIR, (), f"ckpt_path={shown(config.ckpt_path)}")
    changes = {key: value for key, value in config.data.items() if value is not None}
    return OmegaConf.merge(trained_on, changes)
