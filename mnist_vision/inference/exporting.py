"""Export the network of a checkpoint to a file, once it gives the same as the checkpoint."""

import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch.export import ExportedProgram

from mnist_vision.common.errors import FieldError, UserError
from mnist_vision.common.files import shown, write_atomically
from mnist_vision.common.quiet import discard_output, quiet_libraries
from mnist_vision.data.constants import IMAGE_SIZE
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.measure import check_data
from mnist_vision.inference.checkpoint_data import is_trained_on_scenes, make_datamodule
from mnist_vision.inference.checkpoint_network import TorchNetwork
from mnist_vision.inference.exported_program import (
    capture,
    check_packages,
    to_onnx,
    to_pt2,
    with_metadata,
)
from mnist_vision.inference.loading import is_exported
from mnist_vision.inference.model_metadata import ModelMetadata
from mnist_vision.inference.network import Images, Network
from mnist_vision.inference.onnx_network import OnnxNetwork
from mnist_vision.inference.parity import BATCH_SIZES, TOLERANCE, Parity, classes, compare
from mnist_vision.inference.quantisation import quantise
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.runs.calibration_record import TemperatureScaling
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Results
from mnist_vision.runs.settings import command_line
from mnist_vision.training.checkpoints import read_checkpoint, rebuild_classifier

log = logging.getLogger(__name__)

NUM_CHECKED = 1000  # test images that both networks must agree on
NUM_CALIBRATION = 1000  # training images that the ranges of int8 are taken from
MAX_LOSS = 0.01  # of test accuracy by int8


@dataclass(frozen=True)
class _Job:
    """A checkpoint, and the file that it is exported to.

    Args:
        ckpt_path: The checkpoint.
        output: The file to write.
        model: Its network, in evaluation mode.
        datamodule: Gives the images that the file is checked on.
        metadata: What the file says about the network.
    """

    ckpt_path: str
    output: Path
    model: DigitClassifier
    datamodule: MNISTDataModule
    metadata: ModelMetadata


def prepare(config: DictConfig) -> Callable[[], None]:
    """Read a checkpoint, and check that it can be exported; write nothing.

    Args:
        config: The composed `conf/export.yaml`.

    Returns:
        What exports it.

    Raises:
        UserError: If the checkpoint cannot be used, or the file cannot be written.
        FieldError: If settings exclude each other.
    """
    quiet_libraries()
    output = _find_output(config)
    export = _choose_export(config)
    checkpoint = read_checkpoint(config.ckpt_path)
    model = rebuild_classifier(checkpoint, config.ckpt_path)
    datamodule = make_datamodule(config, checkpoint)
    check_data(model, datamodule)
    is_for_scenes = is_trained_on_scenes(checkpoint, config.ckpt_path)
    if config.precision == "int8" and (is_for_scenes or datamodule.gives_scenes):
        problem = "is measured on single digits, and this network reads scenes; use float32"
        raise FieldError("precision", config.precision, problem)
    metadata = _describe(model, config.ckpt_path, is_for_scenes)
    return partial(_run, export, _Job(config.ckpt_path, output, model, datamodule, metadata))


def _run(export: Callable[[_Job], None], job: _Job) -> None:
    """Export; hold the lock of the run that the file goes into, as all who write there do."""
    run = RunDirectory.of_checkpoint(job.output)
    with nullcontext() if run is None else run.lock("output"):
        export(job)


def _choose_export(config: DictConfig) -> Callable[[_Job], None]:
    """Choose by format and precision, and check that its packages are installed."""
    if config.format == "pt2":
        if config.precision != "float32":
            raise FieldError("precision", config.precision, "must be float32 with format=pt2")
        return _export_pt2
    check_packages(f"format={config.format}")
    return _export_int8 if config.precision == "int8" else _export_onnx


def _find_output(config: DictConfig) -> Path:
    """Find the path of the file to write, and check that it can be written there."""
    ending = f".{config.format}"
    if config.output is None:
        name = f"model.int8{ending}" if config.precision == "int8" else f"model{ending}"
        return _check_output(Path(config.ckpt_path).expanduser().with_name(name), config.overwrite)
    if not config.output.endswith(ending):
        raise FieldError("output", config.output, f"must end in {ending} with format={ending[1:]}")
    return _check_output(Path(config.output).expanduser(), config.overwrite)


def _check_output(output: Path, overwrite: bool) -> Path:
    where = f"output={shown(output)}"
    try:
        if output.is_dir():
            raise UserError(f"{where}: is a folder; name a file")
        if output.exists() and not overwrite:
            raise UserError(f"{where}: exists; replace it with overwrite=true, or name another")
        is_folder, is_writable = output.parent.is_dir(), os.access(output.parent, os.W_OK)
    except (OSError, ValueError) as error:  # too long, or a NUL
        raise UserError(f"{where}: not a valid path; name another") from error
    if not is_folder:
        raise UserError(f"{where}: there is no folder {shown(output.parent)}; make it first")
    if not is_writable:
        raise UserError(f"{where}: its folder cannot be written to; name another with output=FILE")
    return output


def _describe(model: DigitClassifier, ckpt_path: str, is_for_scenes: bool) -> ModelMetadata:
    """Collect what is known; the results of a run are those of its best checkpoint alone."""
    scaling = TemperatureScaling(temperature=model.temperature, threshold=model.threshold)
    metadata = ModelMetadata(model.architecture, is_for_scenes, scaling=scaling)
    run = RunDirectory.of_checkpoint(ckpt_path)
    path = Path(ckpt_path).expanduser()
    if run is None or not run.best_checkpoint.exists() or not run.best_checkpoint.samefile(path):
        return metadata
    results = run.find(Results)
    if results is None:
        return metadata
    commit = results.environment.get("git")
    return replace(
        metadata,
        test_accuracy=results.test.accuracy,
        commit=commit if isinstance(commit, str) else None,
    )


def _export_onnx(job: _Job) -> None:
    content, _, parity = _make_onnx(job)
    _write(job, content, {"checked": str(parity)})


def _export_pt2(job: _Job) -> None:
    with discard_output():
        content = to_pt2(_capture(job), job.metadata.to_texts())
        program = torch.export.load(io.BytesIO(content)).module()
    network = _run_by_torch(program, job.metadata)
    _write(job, content, {"checked": str(_check_parity(job, network))})


def _export_int8(job: _Job) -> None:
    """Quantise the float32 file, and compare the accuracies of both on all test images."""
    content, network, _ = _make_onnx(job)
    job.datamodule.setup("fit")
    training = _batches(job.datamodule, job.datamodule.train_set, NUM_CALIBRATION)
    with discard_output():
        quantised = quantise(content, [images for images, _ in training])
    int8_network = OnnxNetwork(job.output, quantised)
    checked = _batches(job.datamodule, job.datamodule.test_set, NUM_CHECKED)
    parity = compare(int8_network, int8_network, [images for images, _ in checked])
    if not parity.is_reached:
        raise UserError(
            f"precision=int8: an image's result depends on its batch ({parity}); use float32"
        )
    before, after = (_accuracy(each, job.datamodule) for each in (network, int8_network))
    if before - after > MAX_LOSS:
        raise UserError(
            f"precision=int8: the test accuracy falls from {before:.4f} to {after:.4f}, by more "
            f"than {MAX_LOSS:g}; use precision=float32"
        )
    metadata = replace(job.metadata, precision="int8", test_accuracy=after)
    rows = {
        "alone, in batches": str(parity),
        "test accuracy": f"{after:.4f}; float32: {before:.4f}",
        "size of float32": f"{len(content):,} bytes",
    }
    _write(job, with_metadata(quantised, metadata.to_texts()), rows)


def _make_onnx(job: _Job) -> tuple[bytes, OnnxNetwork, Parity]:
    """Make the content of a float32 file, its network, and check it."""
    with discard_output():
        content = to_onnx(_capture(job), job.metadata.to_texts())
    network = OnnxNetwork(job.output, content)
    return content, network, _check_parity(job, network)


def _capture(job: _Job) -> ExportedProgram:
    images = torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE)
    return capture(job.model, images, any_size=job.metadata.is_for_scenes)


def _check_parity(job: _Job, network: Network) -> Parity:
    """Compare the exported network with the checkpoint's on test images.

    Raises:
        UserError: If they differ.
    """
    job.datamodule.prepare_data()
    job.datamodule.setup("test")
    batches = _batches(job.datamodule, job.datamodule.test_set, NUM_CHECKED)
    reference = _run_by_torch(job.model.outputs, job.metadata)
    parity = compare(network, reference, [images for images, _ in batches])
    if not parity.is_reached:
        raise UserError(
            f"ckpt_path={shown(job.ckpt_path)}: the exported network differs ({parity}, where "
            f"{TOLERANCE:g} is allowed), so it is not written; try another format"
        )
    return parity


def _run_by_torch(outputs: Any, metadata: ModelMetadata) -> TorchNetwork:
    """Make the network that the metadata describe, from what computes its outputs."""
    temperature = metadata.scaling.temperature
    return TorchNetwork(outputs, metadata.architecture, metadata.is_for_scenes, temperature)


def _batches(datamodule: MNISTDataModule, dataset: Any, num: int) -> Iterator[tuple[Images, Any]]:
    """Iterate over batches of images, and what they show, from all parts of a data set.

    Args:
        datamodule: Prepares batches.
        dataset: The data set, from `datamodule`.
        num: Images; at most all are taken.
    """
    rows = torch.linspace(0, len(dataset) - 1, min(num, len(dataset))).long()
    for batch in rows.split(max(BATCH_SIZES)):
        images, targets = datamodule.prepare_batch(dataset.__getitems__(batch.tolist()))
        yield images.numpy(), targets


def _accuracy(network: Network, datamodule: MNISTDataModule) -> float:
    """Measure the accuracy on all test images."""
    dataset = datamodule.test_set
    batches = _batches(datamodule, dataset, len(dataset))
    hits = [classes(network(images)) == targets.numpy() for images, targets in batches]
    return float(np.concatenate(hits).mean())


def _write(job: _Job, content: bytes, rows: dict[str, str]) -> None:
    """Write the file, and say what was written and checked, and how to use it."""
    with write_atomically(job.output) as file:
        file.write(content)
    # `evaluate` tests exported networks on single digits.
    command = "serve" if job.metadata.is_for_scenes else "evaluate"
    use = command_line(command, ckpt_path=job.output)
    if not is_exported(job.output):
        use = f"torch.export.load({str(shown(job.output))!r}).module()(images)"
    rows = {"size": f"{len(content):,} bytes", **rows, "use it": use}
    log.info("%s, exported to %s", job.metadata.architecture, shown(job.output))
    for name, value in rows.items():
        log.info("%-18s %s", name, value)
