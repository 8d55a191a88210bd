"""The contract that all architectures share."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, NamedTuple

from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from mnist_vision.common.errors import UserError
from mnist_vision.data.mnist import MISSED, NUM_CLASSES

Stage = Literal["train", "val", "test"]
_MISSED_CLASS = NUM_CLASSES  # the class of `MISSED` in metrics, which count from 0

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]


class Assessment(NamedTuple):
    """What a network says of the digits of a batch: one each image, or more.

    Args:
        scores: `Tensor[N, 10]` float32.
        targets: `Tensor[N]` int64 in 0..9.
        pictures: `Tensor[N, 1, 28, 28]` float32 in [0, 1]: what each digit looks like.
    """

    scores: Tensor
    targets: Tensor
    pictures: Tensor


def predictions(scores: Tensor) -> Tensor:
    """The class of the highest score.

    Args:
        scores: `Tensor[N, 10]`.

    Returns:
        `Tensor[N]` int64 in 0..9; `MISSED`, which is never right, where no score is finite.
    """
    is_missed = ~scores.isfinite().any(dim=1)
    return scores.argmax(dim=1).masked_fill(is_missed, MISSED)


class DigitClassifier(LightningModule):
    """A network that gives each image ten scores, the highest of which is its prediction.

    A subclass writes `forward(images)`, which maps float32 `[B, 1, H, W]` in [0, 1] to scores
    `[B, 10]`, and calls `save_hyperparameters(logger=False)` on arguments that are plain values.
    One that is not trained on the cross-entropy of its scores writes `losses` too, and one that
    can show or measure more than scores writes `assess` and `pictures`; one that takes scenes of
    several digits sets `reads_scenes`. The rest, which is the same
    for all architectures, stands here: steps, metrics, optimizer.
    """

    reads_scenes: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.train_metrics = _metrics("train")
        self.val_metrics = _metrics("val")
        self.test_metrics = _metrics("test")
        self._optimizer: OptimizerFactory | None = None
        self._scheduler: SchedulerFactory | None = None

    @property
    def architecture(self) -> str:
        """Name of the architecture: that of its module."""
        return type(self).__module__.rpartition(".")[2]

    def check_data(self, gives_scenes: bool) -> None:
        """Raises if the data are scenes of several digits and the network reads one an image.

        Raises:
            UserError: Saying which models and data go together.
        """
        if gives_scenes and not self.reads_scenes:
            raise UserError(
                f"data=mnist_scenes: shows several digits an image, and {self.architecture} reads "
                "one; use model=faster_rcnn, or data=mnist"
            )

    def set_recipe(self, optimizer: OptimizerFactory, scheduler: SchedulerFactory) -> None:
        """Says how the network is to be trained.

        Not part of the constructor, so that a checkpoint rebuilds a network from plain values.

        Args:
            optimizer: Makes the optimizer from parameters or parameter groups.
            scheduler: Makes the schedule from the optimizer and the number of steps.
        """
        self._optimizer = optimizer
        self._scheduler = scheduler

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The terms whose sum is trained on.

        Args:
            images: `Tensor[B, 1, H, W]` float32 in [0, 1].
            targets: `Tensor[B]` int64 in 0..9.

        Returns:
            Named scalars.
        """
        return {"loss_classifier": F.cross_entropy(self(images), targets)}

    def probabilities(self, scores: Tensor) -> Tensor:
        """What `scores` `[B, 10]` say as probabilities `[B, 10]`; all alike for what is missed."""
        return scores.softmax(dim=1).nan_to_num(1 / NUM_CLASSES)

    def assess(self, batch: Any, stage: Stage) -> Assessment:
        """What the network says of a batch; a place to log metrics of its own, by `stage`."""
        images, targets = batch
        return Assessment(self(images), targets, images)

    def pictures(self, batch: Any) -> dict[str, Tensor]:
        """What there is to see beside scores: RGB images `[3, H, W]` uint8, by log key."""
        return {}

    def load_pretrained(self) -> None:
        """Loads weights that training is to start from, where there are any; a place for it."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimizer trains.

        A group's `lr_ratio`, where it has one, is its learning rate as a multiple of the recipe's.
        """
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Makes the optimizer and its schedule from the recipe."""
        assert self._optimizer is not None, "set_recipe comes before fit"
        assert self._scheduler is not None
        optimizer = self._optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_ratio", 1)
        num_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self._scheduler(optimizer, num_steps)
        # LearningRateMonitor logs under this name, and a group's behind it where there are more.
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "train/lr"},
        }

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Sums the losses, and logs the sum as `train/loss` and each of several by its name."""
        images, targets = batch
        losses = self.losses(images, targets)
        loss = sum(losses.values(), start=images.new_zeros(()))
        terms = {"train/loss": loss}
        if len(losses) > 1:
            terms |= {f"train/{name}": term for name, term in losses.items()}
        self.log_dict(
            {name: term.detach() for name, term in terms.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=len(images),
        )
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measures validation images (loader 0) and the fixed sample of training images (1)."""
        if dataloader_idx == 0:
            self._measure(batch, "val", self.val_metrics)
        else:
            self._measure(batch, "train", self.train_metrics)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Measures test images; gives the parts of the `Assessment`, for callbacks."""
        return self._measure(batch, "test", self.test_metrics)._asdict()

    def _measure(self, batch: Any, stage: Stage, metrics: MetricCollection) -> Assessment:
        assessment = self.assess(batch, stage)
        preds = predictions(assessment.scores)
        metrics.update(preds.where(preds != MISSED, _MISSED_CLASS), assessment.targets)
        # The objects are logged, not their values: a mean over batches would weigh the images of a
        # smaller last batch more.
        self.log_dict(metrics, on_step=False, on_epoch=True, add_dataloader_idx=False)
        return assessment

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the name of the architecture, by which the checkpoint can be loaded."""
        checkpoint["architecture"] = self.architecture


class DigitF1(MulticlassF1Score):
    """Macro F1: the mean over the ten digits. What is missed is a digit not found, and no other."""

    def __init__(self) -> None:
        super().__init__(NUM_CLASSES + 1, average="none")

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return super().compute()[:NUM_CLASSES].mean()


def _metrics(stage: Stage) -> MetricCollection:
    return MetricCollection(
        {"accuracy": MulticlassAccuracy(NUM_CLASSES + 1, average="micro"), "f1": DigitF1()},
        prefix=f"{stage}/",
    )
