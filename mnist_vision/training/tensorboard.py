"""Pictures, curves and hyperparameters in TensorBoard."""

import warnings
from typing import Any

import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torchmetrics.classification import MulticlassConfusionMatrix
from torchvision.utils import make_grid

from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.data.mnist import MISSED, NUM_CLASSES
from mnist_vision.evaluation.measure import TestResult
from mnist_vision.models.classifier import DigitClassifier

NUM_TRAINING_IMAGES = 64
NUM_TEST_IMAGES = 16
NUM_MISTAKES = 25


def log_start(logger: Logger, model: DigitClassifier, datamodule: MNISTDataModule) -> None:
    """Logs the network's graph and a grid of augmented training images.

    Leaves the network's state and the random number generators as they are. Does nothing for a
    logger other than TensorBoard's.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        images, _ = _sample(datamodule, datamodule.train_set, NUM_TRAINING_IMAGES, model)
        model.eval()  # tracing would otherwise move batch normalisation's averages
        with warnings.catch_warnings():
            # The trace is drawn, not run: it does not matter what it would get wrong.
            warnings.simplefilter("ignore")
            logger.experiment.add_graph(model, images[:1])
        model.train(was_training)
    logger.experiment.add_image("train/images", make_grid(images, nrow=8, pad_value=0.5))
    logger.experiment.flush()


def log_test(
    logger: Logger,
    settings: dict[str, Any],
    model: DigitClassifier,
    datamodule: MNISTDataModule,
    outcome: TestResult,
    step: int,
) -> None:
    """Logs what the test showed, and the run's settings with its figures as hyperparameters.

    Does nothing for a logger other than TensorBoard's.

    Args:
        logger: The run's logger.
        settings: The run's settings, nested; plain values are logged.
        model: The network that was tested.
        datamodule: Gives the test images.
        outcome: The scores of the network on them.
        step: The training step it was tested at.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    writer = logger.experiment
    probabilities = model.probabilities(outcome.scores)
    writer.add_figure("test/confusion_matrix", _confusion_matrix(outcome), step)
    writer.add_figure("test/worst_mistakes", _worst_mistakes(outcome, probabilities), step)
    batch = _sample(datamodule, datamodule.test_set, NUM_TEST_IMAGES, model)
    for tag, picture in model.pictures(batch).items():
        writer.add_image(tag, picture, step)
    for digit in range(NUM_CLASSES):
        writer.add_pr_curve(
            f"test/precision_recall/{digit}",
            outcome.targets == digit,
            probabilities[:, digit],
            step,
        )
    logger.log_hyperparams(settings, outcome.metrics, step)
    writer.flush()


def _sample(
    datamodule: MNISTDataModule, dataset: Any, num_images: int, model: DigitClassifier
) -> Any:
    """Images from all over a data set as the network would get them, and their targets."""
    indices = torch.linspace(0, len(dataset) - 1, min(num_images, len(dataset)))
    batch = dataset.__getitems__(indices.long().tolist())
    batch = model.transfer_batch_to_device(batch, model.device, 0)
    return datamodule.on_after_batch_transfer(batch, 0)


def _figure(width: float, height: float) -> Figure:
    # Not pyplot's: its figures outlive the run and want a display.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _confusion_matrix(outcome: TestResult) -> Figure:
    metric = MulticlassConfusionMatrix(NUM_CLASSES)
    is_found = outcome.preds != MISSED
    metric.update(outcome.preds[is_found], outcome.targets[is_found])
    counts = metric.compute()
    off_diagonal = counts.clone().fill_diagonal_(0)
    figure = _figure(6, 6)
    axes = figure.subplots()
    # Coloured by mistakes alone: beside a thousand hits, three misses would be invisible.
    most = max(int(off_diagonal.max()), 4)
    axes.imshow(off_diagonal.numpy(), cmap="Reds", vmin=0, vmax=most)
    for true in range(NUM_CLASSES):
        for predicted in range(NUM_CLASSES):
            count = int(counts[true, predicted])
            if count:
                on_dark = true != predicted and count > most / 2
                colour = "white" if on_dark else "grey" if true == predicted else "black"
                axes.text(predicted, true, str(count), ha="center", va="center", color=colour)
    axes.set(
        xlabel="predicted",
        ylabel="true",
        xticks=range(NUM_CLASSES),
        yticks=range(NUM_CLASSES),
        title=_title(outcome),
    )
    return figure


def _title(outcome: TestResult) -> str:
    num_missed = int((outcome.preds == MISSED).sum())
    missed = f" ({num_missed} of them missed)" if num_missed else ""
    return f"{len(outcome.mistakes)} mistakes{missed} on {len(outcome.targets):,} test digits"


def _worst_mistakes(outcome: TestResult, probabilities: torch.Tensor) -> Figure:
    """The mistakes the network was surest of, surest first."""
    surety = probabilities[outcome.mistakes].amax(dim=1)
    worst = surety.argsort(descending=True)[:NUM_MISTAKES].tolist()
    figure = _figure(8, 8.5)
    figure.suptitle("Worst mistakes: true digit, predicted digit, its probability")
    for axes in figure.subplots(5, 5).flat:
        axes.axis("off")
        if worst:
            rank = worst.pop(0)
            index = int(outcome.mistakes[rank])
            target, pred = int(outcome.targets[index]), int(outcome.preds[index])
            axes.imshow(outcome.mistake_pictures[rank, 0].numpy(), cmap="gray_r", vmin=0, vmax=1)
            said = "missed" if pred == MISSED else f"as {pred}  {float(surety[rank]):.1%}"
            axes.set_title(f"{target} {said}", fontsize=12)
    return figure
