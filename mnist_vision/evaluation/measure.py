"""The one honest measurement: all test images, each once, on one device, in float32."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor

from mnist_vision.common.memory import keep_freed_memory
from mnist_vision.data.mnist import MISSED
from mnist_vision.models.classifier import Assessment, DigitClassifier, predictions
from mnist_vision.runs.predictions import Predictions
from mnist_vision.runs.record import TestFigures


@dataclass(frozen=True)
class TestResult:
    """What the test set says of a network.

    Args:
        targets: `Tensor[N]` int64 in 0..9, in the order of the test set.
        scores: `Tensor[N, 10]` float32, as the network gave them.
        mistake_pictures: `Tensor[M, 1, 28, 28]` float32 in [0, 1]: the digits of `mistakes`.
        metrics: Values by log key, `test/accuracy` among them.
        seconds: Time it took.
    """

    __test__ = False  # not a test, though pytest would take it for one

    targets: Tensor
    scores: Tensor
    mistake_pictures: Tensor
    metrics: dict[str, float]
    seconds: float

    @property
    def preds(self) -> Tensor:
        """`Tensor[N]` int64: the class of the highest score; -1 where there is none."""
        return predictions(self.scores)

    @property
    def mistakes(self) -> Tensor:
        """`Tensor[M]` int64: the indices of the digits whose prediction is wrong."""
        return (self.preds != self.targets).nonzero().flatten()

    def figures(self) -> TestFigures:
        """The metrics by their short names, and the numbers of digits."""
        named = self.metrics.items()
        short: dict[str, Any] = {name.removeprefix("test/"): value for name, value in named}
        return TestFigures(
            **short,
            num_images=len(self.targets),
            num_mistakes=len(self.mistakes),
            missed=int((self.preds == MISSED).sum()),
        )

    def predictions(self) -> Predictions:
        """Targets, predictions and scores as arrays, to be kept."""
        return Predictions(self.targets.numpy(), self.preds.numpy(), self.scores.numpy())


class _Collector(Callback):
    """Keeps the scores and targets of every test batch, and pictures of the mistakes."""

    def __init__(self) -> None:
        self.scores: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.mistake_pictures: list[Tensor] = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        scores, targets, pictures = Assessment(**outputs)
        self.scores.append(scores.float().cpu())
        self.targets.append(targets.cpu())
        self.mistake_pictures.append(pictures[predictions(scores) != targets].cpu())


def run_test(
    model: DigitClassifier, datamodule: LightningDataModule, *, accelerator: str = "auto"
) -> TestResult:
    """Tests a network as it is.

    Always in float32 and on one device, however it was trained, so that the figures of a
    checkpoint are the same wherever they are measured, and no sampler repeats an image.

    Args:
        model: The network, its chosen weights loaded.
        datamodule: Gives the test images.
        accelerator: "cpu", "gpu" or "auto".
    """
    torch.set_flush_denormal(True)  # as in training: one way of computing, one set of figures
    keep_freed_memory()
    collector = _Collector()
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        precision="32-true",
        logger=False,
        callbacks=[collector],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # TF32 convolutions on a GPU differ from float32 ones in the third digit.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        started = time.perf_counter()
        (metrics,) = trainer.test(model, datamodule=datamodule, verbose=False)
        seconds = time.perf_counter() - started
    return TestResult(
        targets=torch.cat(collector.targets),
        scores=torch.cat(collector.scores),
        mistake_pictures=torch.cat(collector.mistake_pictures),
        metrics={name: round(value, 6) for name, value in metrics.items()},
        seconds=round(seconds, 3),
    )
