"""Test the network of a checkpoint or of an ONNX file on all test images, and record the result."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.accelerators import check_accelerator
from mnist_vision.common.conf import CONF_DIR
from mnist_vision.common.errors import FieldError, UserError
from mnist_vision.common.files import shown
from mnist_vision.common.instantiation import make
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.attribution import attribute_mistakes
from mnist_vision.evaluation.measure import check_data, run_test
from mnist_vision.evaluation.robustness import check_suite
from mnist_vision.inference.checkpoint_data import make_datamodule, merge_changes
from mnist_vision.inference.loading import is_exported
from mnist_vision.inference.onnx_classifier import OnnxClassifier
from mnist_vision.inference.onnx_network import OnnxNetwork
from mnist_vision.inference.robustness_recording import record_robustness
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Evaluation
from mnist_vision.runs.summary import figure_lines
from mnist_vision.training.checkpoints import read_checkpoint, rebuild_classifier

log = logging.getLogger(__name__)


def prepare(config: DictConfig) -> Callable[[], float]:
    """Read a network, and check that it can be tested; write nothing.

    Args:
        config: The composed `conf/evaluate.yaml`; `ckpt_path` is a checkpoint or an ONNX file.

    Returns:
        What tests it, and returns the test accuracy. The figures equal those in the results of its
        run.

    Raises:
        UserError: If the file cannot be used.
    """
    quiet_libraries()
    OmegaConf.set_struct(config, False)
    load = _load_exported if is_exported(config.ckpt_path) else _load_checkpoint
    model, datamodule = load(config)
    check_suite(config.suite, datamodule)
    return partial(_test, model, datamodule, config)


def _load_checkpoint(config: DictConfig) -> tuple[DigitClassifier, MNISTDataModule]:
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    checkpoint = read_checkpoint(config.ckpt_path)
    model = rebuild_classifier(checkpoint, config.ckpt_path)
    datamodule = make_datamodule(config, checkpoint)
    check_data(model, datamodule)
    return model, datamodule


def _load_exported(config: DictConfig) -> tuple[DigitClassifier, MNISTDataModule]:
    """Load an ONNX file, and by default MNIST, as the file does not name its data."""
    if config.trainer.accelerator not in ("auto", "cpu"):
        problem = "must be auto or cpu: ONNX files are tested on the CPU"
        raise FieldError("trainer.accelerator", config.trainer.accelerator, problem)
    config.trainer.accelerator = "cpu"
    network = OnnxNetwork(config.ckpt_path)
    if network.is_for_scenes:
        raise UserError(
            f"ckpt_path={shown(config.ckpt_path)}: was trained on scenes, and ONNX files are "
            "tested on single digits; test the checkpoint, or read pictures with predict"
        )
    model = OnnxClassifier(network)
    if "_target_" not in config.data:
        config.data = merge_changes(_mnist_settings(), config.data)
    datamodule: MNISTDataModule = make(config, "data")
    if datamodule.gives_scenes:
        raise UserError(
            "data=mnist_scenes: ONNX files are tested on single digits; test the checkpoint, or "
            "use data=mnist"
        )
    return model, datamodule


def _mnist_settings() -> DictConfig:
    """Read the settings of MNIST, without augmentation, as nothing is trained."""
    settings = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "data" / "mnist.yaml"))
    assert isinstance(settings, dict)
    del settings["defaults"]
    return OmegaConf.create(settings | {"augmentation": None})


def _test(model: DigitClassifier, datamodule: MNISTDataModule, config: DictConfig) -> float:
    outcome = run_test(model, datamodule, accelerator=config.trainer.accelerator)
    evaluation = Evaluation(
        architecture=model.architecture,
        ckpt_path=str(Path(config.ckpt_path).expanduser().resolve()),
        test=outcome.figures(),
        calibration=outcome.calibration(model.temperature, model.threshold),
        seconds={"test": outcome.seconds},
    )
    directory = RunDirectory(config.output_dir)
    path = directory.write(evaluation, outcome.to_record())
    directory.write_attributions(attribute_mistakes(model, datamodule, outcome))
    log.info("%s from %s", model.architecture, shown(config.ckpt_path))
    for line in figure_lines(evaluation.test, evaluation.calibration):
        log.info(line)
    log.info("results            %s", shown(path))
    if config.suite is not None:
        record_robustness(model, datamodule, outcome, config)
    return evaluation.test.accuracy
