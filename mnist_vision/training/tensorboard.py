"""Log pictures, curves and hyperparameters to TensorBoard."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.figure import Figure
from torchvision.utils import make_grid

from mnist_vision.data.boxes import locate
from mnist_vision.data.constants import MISSED, NUM_CLASSES
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.attribution_pictures import draw_mistakes
from mnist_vision.evaluation.confusion_matrix import draw_confusion_matrix
from mnist_vision.evaluation.measure import TestResult
from mnist_vision.evaluation.reliability_diagram import draw_reliability_diagram
from mnist_vision.evaluation.robustness import RobustnessResult
from mnist_vision.models.classifier import DigitClassifier, to_probabilities
from mnist_vision.runs.mistake_attributions import MistakeAttributions
from mnist_vision.training.box_pictures import draw_boxes

NUM_TRAINING_IMAGES = 64
NUM_TEST_IMAGES = 16
NUM_MISTAKES = 25
ROBUSTNESS_SUFFIX = ".robustness"


def log_start(logger: Logger, model: DigitClassifier, datamodule: MNISTDataModule) -> None:
    """Log the graph of the network and a grid of augmented training images.

    The state of the network and of the random number generators stays the same. Other loggers than
    TensorBoard's get nothing.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        batch = _sample(datamodule.train_set, NUM_TRAINING_IMAGES, model)
        images, _ = datamodule.prepare_training_batch(batch, model.find_targets)
        model.eval()  # or tracing would update the averages of batch normalisation
        with warnings.catch_warnings():
            # The trace is drawn and never run, so its warnings do not matter. A second trace of a
            # detector differs on a GPU, and `add_graph` alone would fail on that.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(model, images[:1], check_trace=False)
            logger.experiment.add_graph(traced, images[:1])
        model.train(was_training)
    logger.experiment.add_image("train/images", make_grid(images, nrow=8, pad_value=0.5))
    logger.experiment.flush()


def log_test(
    logger: TensorBoardLogger,
    settings: dict[str, Any],
    model: DigitClassifier,
    datamodule: MNISTDataModule,
    outcome: TestResult,
    step: int,
) -> None:
    """Log pictures and curves of the test, and the settings with the test figures.

    Args:
        logger: A logger of the run.
        settings: The settings of the run, nested; plain values are logged.
        model: The network that was tested.
        datamodule: Gives the test images.
        outcome: The result of the test.
        step: The training step it was tested at.
    """
    writer = logger.experiment
    probabilities = model.probabilities(outcome.scores)
    uncalibrated = to_probabilities(outcome.scores)
    reliability = draw_reliability_diagram(uncalibrated, probabilities, outcome.targets)
    confusions = draw_confusion_matrix(outcome.targets.numpy(), outcome.predictions.numpy())
    writer.add_figure("test/confusion_matrix", confusions, step)
    writer.add_figure("test/reliability", reliability, step)
    writer.add_figure("test/worst_mistakes", _worst_mistakes(outcome, probabilities), step)
    batch = _sample(datamodule.test_set, NUM_TEST_IMAGES, model)
    images, targets = datamodule.prepare_batch(batch)
    found = model.detect(images)
    if found is not None:
        writer.add_image("test/boxes", draw_boxes(images, locate(images, targets), found), step)
    for digit in range(NUM_CLASSES):
        writer.add_pr_curve(
            f"test/precision_recall/{digit}",
            outcome.targets == digit,
            probabilities[:, digit],
            step,
        )
    logger.log_hyperparams(settings, outcome.metrics, step)
    writer.flush()


def log_robustness(folder: str | os.PathLike[str], result: RobustnessResult, step: int) -> None:
    """Log the accuracy under each corruption, and pictures of them.

    They have an event file of their own, which replaces that of an earlier measurement.

    Args:
        folder: The TensorBoard folder of the run.
        result: The result of a suite.
        step: The training step of the network.
    """
    from torch.utils.tensorboard import SummaryWriter  # takes 0.2 s; not every run has it

    earlier = list(Path(folder).glob(f"*{ROBUSTNESS_SUFFIX}"))
    with SummaryWriter(folder, filename_suffix=ROBUSTNESS_SUFFIX) as writer:
        for name, accuracy in result.record.metrics().items():
            writer.add_scalar(name, accuracy, step)
        writer.add_figure("robustness/images", _corrupted_digits(result), step)
    for path in earlier:
        path.unlink()


def _corrupted_digits(result: RobustnessResult) -> Figure:
    """Draw a row of digits for each corruption."""
    rows = [np.concatenate(list(digits), axis=1) for digits in result.examples.values()]
    height = rows[0].shape[0]
    figure = Figure(figsize=(9, 0.75 * len(rows)), layout="compressed")
    axes = figure.subplots()
    axes.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=255)
    tests = result.record.corruptions
    names = [f"{name}  {tests[name].accuracy:.4f}" for name in result.examples]
    axes.set_yticks([height * (place + 0.5) for place in range(len(rows))], names)
    axes.set_xticks([])
    return figure


def log_attributions(
    logger: TensorBoardLogger, attributions: MistakeAttributions, step: int
) -> None:
    """Log where the network looked in its worst mistakes.

    Args:
        logger: A logger of the run.
        attributions: Of the test.
        step: The training step it was tested at.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    figure.suptitle("True digit, prediction; the digit, its Grad-CAM, its integrated gradients")
    grid = figure.subplots(4, 3)
    for axes in grid.flat:
        axes.axis("off")
    captions = zip(attributions.targets, attributions.predictions, strict=True)
    explained = zip(draw_mistakes(attributions), captions, strict=True)
    for axes, (picture, (target, prediction)) in zip(grid.flat, explained, strict=False):
        axes.imshow(picture)
        axes.set_title(f"{target} as {prediction}", fontsize=10)
    logger.experiment.add_figure("test/attributions", figure, step)
    logger.experiment.flush()


def _sample(dataset: Any, num_images: int, model: DigitClassifier) -> Any:
    """Take a batch of evenly spaced items of a data set to the device of the network."""
    indices = torch.linspace(0, len(dataset) - 1, min(num_images, len(dataset)))
    batch = dataset.__getitems__(indices.long().tolist())
    return move_data_to_device(batch, model.device)


def _worst_mistakes(outcome: TestResult, probabilities: torch.Tensor) -> Figure:
    """Draw the mistakes of the highest confidence."""
    confidence = probabilities[outcome.mistakes].amax(dim=1)
    worst = confidence.argsort(descending=True)[:NUM_MISTAKES].tolist()
    # Not pyplot: it keeps its figures and needs a display.
    figure = Figure(figsize=(8, 8.5), layout="constrained")
    figure.suptitle("Worst mistakes: true digit, predicted digit, its probability")
    for axes in figure.subplots(5, 5).flat:
        axes.axis("off")
        if worst:
            rank = worst.pop(0)
            index = int(outcome.mistakes[rank])
            target, prediction = int(outcome.targets[index]), int(outcome.predictions[index])
            axes.imshow(outcome.mistake_pictures[rank, 0].numpy(), cmap="gray_r", vmin=0, vmax=1)
            label = (
                "missed"
                if prediction == MISSED
                else f"as {prediction}  {float(confidence[rank]):.1%}"
            )
            axes.set_title(f"{target} {label}", fontsize=12)
    return figure
