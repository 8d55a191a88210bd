"""Pictures, curves and hyperparameters in TensorBoard."""

import warnings
from typing import Any

import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torchmetrics.classification import MulticlassConfusionMatrix
from torchvision.utils import make_grid

from mnist_vision.data.datamodule import DigitDataset, MNISTDataModule, to_unit_range
from mnist_vision.data.mnist import NUM_CLASSES
from mnist_vision.evaluation import TestResult
from mnist_vision.models.classifier import DigitClassifier

NUM_TRAINING_IMAGES = 64
NUM_MISTAKES = 25


def log_start(logger: Logger, model: DigitClassifier, datamodule: MNISTDataModule) -> None:
    """Logs the network's graph and a grid of augmented training images.

    Leaves the network's state and the random number generators as they are. Does nothing for a
    logger other than TensorBoard's.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    images = to_unit_range(datamodule.train_set.images[:NUM_TRAINING_IMAGES].to(model.device))
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        model.eval()  # tracing would otherwise move batch normalisation's averages
        with warnings.catch_warnings():
            # torch's own add_graph traces with torch.jit, which torch has deprecated.
            warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated.*")
            logger.experiment.add_graph(model, images[:1])
        model.train(was_training)
        if datamodule.augmentation is not None:
            images = datamodule.augmentation(images)
    logger.experiment.add_image("train/images", make_grid(images, nrow=8, pad_value=0.5))
    logger.experiment.flush()


def log_test(
    logger: Logger,
    settings: dict[str, Any],
    model: DigitClassifier,
    test_set: DigitDataset,
    outcome: TestResult,
    step: int,
) -> None:
    """Logs what the test showed, and the run's settings with its figures as hyperparameters.

    Does nothing for a logger other than TensorBoard's.

    Args:
        logger: The run's logger.
        settings: The run's settings, nested; plain values are logged.
        model: The network that was tested.
        test_set: The test images.
        outcome: The scores of the network on them.
        step: The training step it was tested at.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    writer = logger.experiment
    probabilities = model.probabilities(outcome.scores)
    writer.add_figure("test/confusion_matrix", _confusion_matrix(outcome), step)
    writer.add_figure(
        "test/worst_mistakes", _worst_mistakes(test_set, outcome, probabilities), step
    )
    for digit in range(NUM_CLASSES):
        writer.add_pr_curve(
            f"test/precision_recall/{digit}",
            outcome.targets == digit,
            probabilities[:, digit],
            step,
        )
    logger.log_hyperparams(settings, outcome.metrics, step)
    writer.flush()


def _figure(width: float, height: float) -> Figure:
    # Not pyplot's: its figures outlive the run and want a display.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _confusion_matrix(outcome: TestResult) -> Figure:
    metric = MulticlassConfusionMatrix(NUM_CLASSES)
    metric.update(outcome.preds, outcome.targets)
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
        title=f"{len(outcome.mistakes)} mistakes on {len(outcome.targets):,} test images",
    )
    return figure


def _worst_mistakes(
    test_set: DigitDataset, outcome: TestResult, probabilities: torch.Tensor
) -> Figure:
    """The mistakes the network was surest of, surest first."""
    mistakes = outcome.mistakes
    surety = probabilities[mistakes].amax(dim=1)
    worst = mistakes[surety.argsort(descending=True)][:NUM_MISTAKES].tolist()
    figure = _figure(8, 8.5)
    figure.suptitle("Worst mistakes: true digit, predicted digit, its probability")
    for axes in figure.subplots(5, 5).flat:
        axes.axis("off")
        if worst:
            index = worst.pop(0)
            image, target = test_set[index]
            pred = int(outcome.preds[index])
            axes.imshow(image[0].numpy(), cmap="gray_r")
            axes.set_title(
                f"{int(target)} as {pred}  {float(probabilities[index, pred]):.1%}", fontsize=12
            )
    return figure
