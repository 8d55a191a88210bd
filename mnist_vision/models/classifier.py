"""The contract that all architectures share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from mnist_vision.data.constants import MISSED, NUM_CLASSES

Stage = Literal["train", "val", "test"]

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]


@dataclass(frozen=True)
class Assessment:
    """The scores of the digits of a batch: one digit an image, or several.

    Args:
        scores: `Tensor[N, 10]` float32.
        targets: `Tensor[N]` int64 in 0..9.
        pictures: `Tensor[N, 1, 28, 28]` float32 in [0, 1]: what each digit looks like.
    """

    scores: Tensor
    targets: Tensor
    pictures: Tensor

    @cached_property
    def predictions(self) -> Tensor:
        """`Tensor[N]` int64; see `predict`."""
        return predict(self.scores)


def predict(scores: Tensor) -> Tensor:
    """Predict the class of the highest score.

    Args:
        scores: `Tensor[N, 10]`.

    Returns:
        `Tensor[N]` int64 in 0..9; `MISSED`, which is never right, where no score is finite.
    """
    classes = add_missed_class(scores).argmax(dim=1)
    return classes.masked_fill(classes == NUM_CLASSES, MISSED)


def add_missed_class(scores: Tensor) -> Tensor:
    """Add a class for digits that are missed, as metrics count classes from 0.

    Args:
        scores: `Tensor[N, 10]`.

    Returns:
        `Tensor[N, 11]`: the last class has the highest score where no score is finite.
    """
    is_missed = ~scores.isfinite().any(dim=1, keepdim=True)
    last = torch.zeros_like(scores[:, :1]).masked_fill(~is_missed, -torch.inf)
    return torch.cat([scores.masked_fill(is_missed, -torch.inf), last], dim=1)


def to_probabilities(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Turn scores into probabilities: the softmax of the scores over the temperature.

    Args:
        scores: `Tensor[N, 10]`.
        temperature: Above 0.

    Returns:
        `Tensor[N, 10]`; all are equal for a missed digit.
    """
    return (scores / temperature).softmax(dim=1).nan_to_num(1 / NUM_CLASSES)


class DigitClassifier(LightningModule):
    """A network that gives each image ten scores, the highest of which is its prediction.

    A subclass writes `forward(images)`, which maps float32 `[B, 1, H, W]` in [0, 1] to scores
    `[B, 10]`, and calls `save_hyperparameters(logger=False)` on arguments that are plain values.
    It may override `losses`, if it is not trained on the cross-entropy of its scores, and
    `find_targets`, if it learns more than classes; `assess`, to log metrics of its own; `detect`
    and `outputs`, if it finds boxes; `attribution_layer`, `regions` and `evidence`, if its scores
    have no useful gradient; and `reads_scenes`, if it reads several digits an image. Steps, metrics
    and optimizer are the same for all architectures.

    Attributes:
        temperature: Divides the scores, so that probabilities are calibrated; 1 until it is fit.
        threshold: The confidence from which on hardly a prediction is wrong; None if not known.
    """

    reads_scenes: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.train_metrics = _metrics("train")
        self.val_metrics = _metrics("val")
        self.test_metrics = _metrics("test")
        self.temperature = 1.0
        self.threshold: float | None = None
        self._optimizer: OptimizerFactory | None = None
        self._scheduler: SchedulerFactory | None = None

    @property
    def architecture(self) -> str:
        """Name of the architecture: that of its module."""
        return type(self).__module__.rpartition(".")[2]

    def set_recipe(self, optimizer: OptimizerFactory, scheduler: SchedulerFactory) -> None:
        """Set how the network is trained.

        Not part of the constructor, so that a checkpoint rebuilds a network from plain values.

        Args:
            optimizer: Makes the optimizer from parameters or parameter groups.
            scheduler: Makes the schedule from the optimizer and the number of steps.
        """
        self._optimizer = optimizer
        self._scheduler = scheduler

    def find_targets(self, images: Tensor, targets: Any) -> Any:
        """Find what `losses` learns from: the targets of the batch, or more of each digit.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1], before they are degraded.
            targets: `Tensor[B]` int64 in 0..9, or the digits of scenes.
        """
        return targets

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the losses, the sum of which is minimised.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].
            targets: `Tensor[B]` int64 in 0..9.

        Returns:
            Scalars by name.
        """
        return {"loss_classifier": F.cross_entropy(self(images), targets)}

    def probabilities(self, scores: Tensor) -> Tensor:
        """Turn scores `[N, 10]` into calibrated probabilities `[N, 10]`; see `to_probabilities`."""
        return to_probabilities(scores, self.temperature)

    def assess(self, batch: Any, stage: Stage) -> Assessment:
        """Score the digits of a batch; override it to log more metrics under `stage`."""
        images, targets = batch
        return Assessment(self(images), targets, images)

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Compute all outputs of the network; an exported network has the same.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].

        Returns:
            Tensors by name: first `scores` `[B, 10]`, as from `forward`; a detector adds more.
        """
        return {"scores": self(images)}

    def detect(self, images: Tensor) -> list[dict[str, Tensor]] | None:
        """Find the boxes of digits; None, as most networks find none."""
        return None

    @property
    def attribution_layer(self) -> nn.Module | None:
        """The layer whose maps Grad-CAM weighs: the last convolution; None without one."""
        convolutions = [each for each in self.modules() if isinstance(each, nn.Conv2d)]
        return convolutions[-1] if convolutions else None

    def regions(self, images: Tensor) -> tuple[Tensor, ...]:
        """Choose the parts of images `[B, 1, H, W]` that `evidence` reads; most networks read all.

        Attributions hold them fixed, as a choice has no gradient.

        Returns:
            Tensors, the first axis of which is the batch.
        """
        return ()

    def evidence(self, images: Tensor, *regions: Tensor) -> Tensor:
        """Compute the scores that attributions explain, differentiable in the pixels.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].
            regions: From `regions`, for these images or for others of the same digits.

        Returns:
            `Tensor[B, 10]`, finite; for the prediction it is the score of `forward`.
        """
        scores: Tensor = self(images)
        return scores

    def load_pretrained(self) -> None:
        """Load the weights that training starts from, if the network has any."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """List the parameters that the optimizer trains.

        The learning rate of a group is the recipe's times its `lr_ratio`, if it has one.
        """
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimizer and its schedule."""
        assert self._optimizer is not None, "set_recipe comes before fit"
        assert self._scheduler is not None
        optimizer = self._optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_ratio", 1)
        num_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self._scheduler(optimizer, num_steps)
        # LearningRateMonitor logs under this name, followed by the name of a group if it has one.
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "train/lr"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients by their norm or, with the algorithm "value", each alone.

        Lightning's own way refuses fused optimizers in mixed precision. That is needed for float16,
        whose gradients they unscale themselves, and not for bfloat16, whose are not scaled.
        """
        if not gradient_clip_val:
            return
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(self.parameters(), gradient_clip_val)
        else:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Sum the losses; log the sum as `train/loss`, and each loss if there are several."""
        images, targets = batch
        losses = self.losses(images, targets)
        loss = sum(losses.values(), start=images.new_zeros(()))
        logged = {"train/loss": loss}
        if len(losses) > 1:
            logged |= {f"train/{name}": term for name, term in losses.items()}
        self.log_dict(
            {name: term.detach() for name, term in logged.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(images),
        )
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Measure validation images (loader 0) and the fixed sample of training images (1).

        Returns the `Assessment` for callbacks.
        """
        if dataloader_idx == 0:
            return self._measure(batch, "val", self.val_metrics)
        return self._measure(batch, "train", self.train_metrics)

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """Measure test images; return the `Assessment` for callbacks."""
        return self._measure(batch, "test", self.test_metrics)

    def _measure(self, batch: Any, stage: Stage, metrics: MetricCollection) -> Assessment:
        assessment = self.assess(batch, stage)
        metrics.update(add_missed_class(assessment.scores), assessment.targets)
        # The metrics are logged, not their values: a mean over batches would give the images of a
        # smaller last batch more weight.
        self.log_dict(metrics, on_step=False, on_epoch=True, add_dataloader_idx=False)
        return assessment

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the name of the architecture, by which the checkpoint is loaded."""
        checkpoint["architecture"] = self.architecture


class DigitF1(MulticlassF1Score):
    """Macro F1: the mean over the ten digits. A missed digit counts as a false negative."""

    def __init__(self) -> None:
        super().__init__(NUM_CLASSES + 1, average="none")

    def compute(self) -> Tensor:
        """Compute the mean, a scalar."""
        return super().compute()[:NUM_CLASSES].mean()


def _metrics(stage: Stage) -> MetricCollection:
    """Make the metrics of a stage; they get scores `[N, 11]` and targets `[N]`."""
    return MetricCollection(
        {"accuracy": MulticlassAccuracy(NUM_CLASSES + 1, average="micro"), "f1": DigitF1()},
        prefix=f"{stage}/",
    )
