"""The test: all test images, each once, on one device, in float32. Scores of validation images."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from mnist_vision.common.errors import UserError
from mnist_vision.common.memory import keep_freed_memory
from mnist_vision.data.constants import MISSED
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.data.label_errors import accuracy_without_label_errors
from mnist_vision.evaluation.calibration import measure_calibration
from mnist_vision.models.classifier import Assessment, DigitClassifier, to_probabilities
from mnist_vision.runs.calibration_record import Calibration
from mnist_vision.runs.predictions import Predictions
from mnist_vision.runs.record import TestFigures


@dataclass(frozen=True)
class TestResult:
    """The result of a test.

    Args:
        targets: `Tensor[N]` int64 in 0..9, in the order of the test set.
        predictions: `Tensor[N]` int64 in 0..9, or `MISSED`.
        scores: `Tensor[N, 10]` float32, from the network.
        mistake_pictures: `Tensor[M, 1, 28, 28]` float32 in [0, 1]: the digits of `mistakes`.
        metrics: Values by log key, `test/accuracy` among them.
        seconds: Time of the batches, without reading the data and without metrics of the whole
            test, such as the mean average precision.
    """

    __test__ = False  # pytest would take it for a test

    targets: Tensor
    predictions: Tensor
    scores: Tensor
    mistake_pictures: Tensor
    metrics: dict[str, float]
    seconds: float

    @property
    def mistakes(self) -> Tensor:
        """`Tensor[M]` int64: the indices of the digits whose prediction is wrong."""
        return (self.predictions != self.targets).nonzero().flatten()

    def figures(self) -> TestFigures:
        """Return the metrics by their short names, and the numbers of digits."""
        named = self.metrics.items()
        short: dict[str, Any] = {name.removeprefix("test/"): value for name, value in named}
        return TestFigures(
            **short,
            num_images=len(self.targets),
            num_mistakes=len(self.mistakes),
            missed=int((self.predictions == MISSED).sum()),
            accuracy_without_label_errors=accuracy_without_label_errors(
                self.targets.numpy(), self.predictions.numpy()
            ),
        )

    def calibration(self, temperature: float, threshold: float | None) -> Calibration:
        """Measure the confidences, given what was fit on validation images."""
        probabilities = to_probabilities(self.scores.double())
        return measure_calibration(probabilities, self.targets, temperature, threshold)

    def to_record(self) -> Predictions:
        """Return targets, predictions and scores as arrays, for the run directory."""
        tensors = (self.targets, self.predictions, self.scores)
        return Predictions(*(tensor.numpy() for tensor in tensors))


class _Collector(Callback):
    """Collects each `Assessment`, with the pictures of its mistakes only.

    Attributes:
        seconds: Time from the first batch to the end of the last one collected.
    """

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, ...]] = []
        self.seconds = 0.0
        self._started = 0.0

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()

    on_validation_epoch_start = on_test_epoch_start

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assessed: Assessment = outputs
        is_mistake = assessed.predictions != assessed.targets
        parts = (assessed.targets, assessed.predictions, assessed.scores.float())
        self.batches.append(tuple(part.cpu() for part in (*parts, assessed.pictures[is_mistake])))
        self.seconds = time.perf_counter() - self._started

    on_validation_batch_end = on_test_batch_end

    def collected(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Join targets, predictions, scores and pictures of mistakes."""
        targets, predictions, scores, pictures = map(torch.cat, zip(*self.batches, strict=True))
        return targets, predictions, scores, pictures


def check_data(model: DigitClassifier, datamodule: MNISTDataModule) -> None:
    """Raise if the data are scenes and the network reads one digit an image.

    Raises:
        UserError: Naming the models and data that go together.
    """
    if datamodule.gives_scenes and not model.reads_scenes:
        raise UserError(
            f"data=mnist_scenes: shows several digits an image, and {model.architecture} reads "
            "one; use model=faster_rcnn, or data=mnist"
        )


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Compute as every test does, so that a network has the same figures wherever it is tested."""
    torch.set_flush_denormal(True)  # as in training
    keep_freed_memory()
    with float32_arithmetic():
        yield


@contextmanager
def float32_arithmetic() -> Iterator[None]:
    """Compute float32 convolutions and matrix products in float32.

    On a GPU they may else be in TF32, which differs in the third digit.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, fp32_precision="ieee"):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def run_test(
    model: DigitClassifier, datamodule: MNISTDataModule, *, accelerator: str = "auto"
) -> TestResult:
    """Test a network.

    A test is in float32 and on one device, however the network was trained. So a checkpoint has the
    same figures wherever it is tested, and no distributed sampler repeats an image.

    Args:
        model: The network with its weights.
        datamodule: Gives the test images.
        accelerator: "cpu", "gpu" or "auto".
    """
    collector = _Collector()
    with _one_device(accelerator, collector) as trainer:
        (metrics,) = trainer.test(model, datamodule=datamodule, verbose=False)
    targets, predictions, scores, pictures = collector.collected()
    return TestResult(
        targets,
        predictions,
        scores,
        pictures,
        metrics={name: round(value, 6) for name, value in metrics.items()},
        seconds=round(collector.seconds, 3),
    )


def score_validation(
    model: DigitClassifier, datamodule: MNISTDataModule, *, accelerator: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Score all validation images as a test scores its own: in float32, on one device.

    Args:
        model: The network with its weights.
        datamodule: Set up for "fit".
        accelerator: "cpu", "gpu" or "auto".

    Returns:
        Scores `Tensor[N, 10]` float32 and targets `Tensor[N]` int64, both on the CPU.
    """
    collector = _Collector()
    loader = DataLoader(
        datamodule.val_set, datamodule.eval_batch_size, collate_fn=datamodule.prepare_batch
    )
    with _one_device(accelerator, collector) as trainer:
        trainer.validate(model, dataloaders=loader, verbose=False)
    targets, _, scores, _ = collector.collected()
    return scores, targets


@contextmanager
def _one_device(accelerator: str, callback: Callback) -> Iterator[Trainer]:
    """Make a trainer that measures in float32 and on one device."""
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        precision="32-true",
        logger=False,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with exact_arithmetic():
        yield trainer
