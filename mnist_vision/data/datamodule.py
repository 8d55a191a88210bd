"""The one source of batches for every architecture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from lightning import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mnist_vision.common.checks import Count, NonNegativeInt, checked
from mnist_vision.common.errors import UserError
from mnist_vision.data.augmentation import Augmentation
from mnist_vision.data.download import ensure_mnist
from mnist_vision.data.mnist import load_split

Batch = tuple[Tensor, Tensor]

NUM_TRAIN_IMAGES = 60_000
NUM_SAMPLE_IMAGES = 10_000
ValSize = Annotated[int, Field(ge=10, le=NUM_TRAIN_IMAGES - 10)]


@dataclass(frozen=True)
class DigitDataset(Dataset[Batch]):
    """Digits in memory; a whole batch is one access.

    Args:
        images: `Tensor[N, 1, 28, 28]` uint8.
        targets: `Tensor[N]` int64 in 0..9.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], self.targets[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        """Get a batch in two gathers; torch's DataLoader prefers this method if there is one.

        Source: torch.utils.data._utils.fetch, "possibly batched index".
        """
        rows = torch.tensor(indices, device=self.images.device)
        return self.images.index_select(0, rows), self.targets.index_select(0, rows)

    def subset(self, indices: Tensor) -> "DigitDataset":
        """The digits at `indices`, `Tensor[M]` int64."""
        return DigitDataset(self.images[indices], self.targets[indices])

    def to(self, device: torch.device) -> "DigitDataset":
        """The same digits on `device`."""
        return DigitDataset(self.images.to(device), self.targets.to(device))


def stratified_order(targets: Tensor, seed: int) -> Tensor:
    """Shuffle so that every prefix has the class shares of the whole, to within one image a class.

    Each image gets a random rank within its class, and all are sorted by rank over class size.

    Args:
        targets: `Tensor[N]` int64.
        seed: Seed of the ranks.

    Returns:
        A permutation of 0..N-1, `Tensor[N]` int64.
    """
    generator = torch.Generator().manual_seed(seed)
    position = torch.empty(len(targets), dtype=torch.float64)
    for target in targets.unique():
        members = (targets == target).nonzero().flatten()
        ranks = torch.randperm(len(members), generator=generator)
        position[members] = (ranks.double() + 0.5) / len(members)
    return position.argsort(stable=True)


class MNISTDataModule(LightningDataModule):
    """MNIST as batches of `images` float32 `[B, 1, 28, 28]` in [0, 1] and `targets` int64 `[B]`.

    The official 60,000 training images are split into training and validation images, seeded and
    stratified; the official 10,000 test images are all used. Images go to the device as bytes,
    become floats there, and are augmented in training.

    Args:
        root: A torchvision data root: the files lie in `root`/MNIST/raw, and are downloaded if
            they are missing. `~` is the home folder.
        download: Whether files may be downloaded.
        batch_size: Training images a step and device, at least 1.
        eval_batch_size: Images a step in validation and test, at least 1.
        val_size: Validation images of the 60,000, 10 to 59,990.
        split_seed: Seed of the split. It does not depend on the seed of the run.
        augmentation: Distorts training images, on the device; None for none.
        device: Where training and validation images are kept. "auto": on the GPU that trains, if it
            is one of CUDA, so that only indices go to it in each epoch; 55 MB. "cpu": in main
            memory.

    Raises:
        FieldError: If an argument is outside its range.
    """

    # Whether an image shows several digits.
    gives_scenes: ClassVar[bool] = False
    # Sets of digits; of scenes in a subclass.
    train_set: Any
    val_set: Any
    train_sample: Any
    test_set: Any

    @checked
    def __init__(
        self,
        root: str,
        *,
        download: bool = True,
        batch_size: Count = 128,
        eval_batch_size: Count = 1000,
        val_size: ValSize = 5000,
        split_seed: NonNegativeInt = 0,
        augmentation: Augmentation | None,
        device: Literal["auto", "cpu"] = "auto",
    ) -> None:
        super().__init__()
        self.root = root
        self.download = download
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_size = val_size
        self.split_seed = split_seed
        self.augmentation = augmentation
        self.device = device

    def prepare_data(self) -> None:
        """Download and verify the files, once a machine.

        Raises:
            UserError: If they cannot be downloaded.
        """
        ensure_mnist(self.root, download=self.download)

    def setup(self, stage: str) -> None:
        """Load the sets of a stage: "fit" for training and validation, "test" for the test."""
        if stage == "fit":
            official = DigitDataset(*load_split(self.root, "train"))
            order = stratified_order(official.targets, self.split_seed)
            # The test set stays in main memory: its images go to the device only once.
            official = official.to(self._home())
            self.val_set = official.subset(order[: self.val_size])
            self.train_set = official.subset(order[self.val_size :])
            self.train_sample = official.subset(order[self.val_size :][:NUM_SAMPLE_IMAGES])
        elif stage == "test":
            self.test_set = DigitDataset(*load_split(self.root, "test"))

    def train_dataloader(self) -> DataLoader[Any]:
        """Make batches of training images, shuffled in each epoch."""
        return _loader(self.train_set, self.batch_size, shuffle=True)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Make two loaders: the validation images, and a fixed sample of the training images.

        Training accuracy is measured on the sample: 10,000 images (all, if there are fewer) without
        augmentation. So it can be compared with validation accuracy, unlike a running mean over the
        augmented images of an epoch.

        If several processes train, each measures its share, and no image counts twice.

        Raises:
            UserError: If there are fewer images than processes.
        """
        return [self._shared_loader(part) for part in (self.val_set, self.train_sample)]

    def test_dataloader(self) -> DataLoader[Any]:
        """Make batches of all test images, each once, in the official order."""
        return _loader(self.test_set, self.eval_batch_size)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Any]:
        """Prepare a batch on the device; Lightning's hook."""
        if self.trainer is not None and self.trainer.training:
            model: Any = self.trainer.lightning_module
            return self.prepare_training_batch(batch, model.find_targets)
        return self.prepare_batch(batch)

    def prepare_batch(self, batch: Any) -> tuple[Tensor, Any]:
        """Turn a batch of a loader into images and targets, as networks take them.

        Args:
            batch: Images uint8 and targets, on any device.
        """
        return self.draw(batch, lambda images: images)

    def prepare_training_batch(
        self, batch: Any, find_targets: Callable[[Tensor, Any], Any]
    ) -> tuple[Tensor, Any]:
        """Turn a batch of a loader into augmented images and what a network learns from.

        Args:
            batch: Images uint8 and targets, on any device.
            find_targets: `DigitClassifier.find_targets`. It sees the images before they are
                degraded.
        """
        if self.augmentation is None:
            images, targets = self.prepare_batch(batch)
            return images, find_targets(images, targets)
        images, targets = self.draw(batch, self.augmentation.distort_digits)
        targets = find_targets(images, targets)
        return self.augmentation.degrade(images), targets

    def draw(self, batch: Any, distort: Callable[[Tensor], Tensor]) -> tuple[Tensor, Any]:
        """Make images of the digits of a batch, after `distort`; scenes in a subclass."""
        images, targets = batch
        return distort(to_unit_range(images)), targets

    def _home(self) -> torch.device:
        """Choose where training and validation images are kept."""
        if self.device == "auto" and self.trainer is not None:
            device: torch.device = self.trainer.strategy.root_device
            if device.type == "cuda":
                return device
        return torch.device("cpu")

    def _shared_loader(self, dataset: Any) -> DataLoader[Any]:
        """Make evaluation batches of all images, or of the share of this process."""
        share = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        if share is None:
            return _loader(dataset, self.eval_batch_size)
        size, num_processes = len(dataset), share["num_replicas"]
        if size < num_processes:
            raise UserError(
                f"trainer.devices: {num_processes} processes cannot share the images that accuracy "
                f"is measured on, of which there must be one each (number of images: {size})"
            )
        # Lightning adds its own sampler where there is none. It repeats images, so that all
        # processes get equally many.
        sampler = UnrepeatedDistributedSampler(dataset, shuffle=False, **share)
        return _loader(dataset, self.eval_batch_size, sampler=sampler)


def to_unit_range(images: Tensor) -> Tensor:
    """Scale bytes 0..255 to float32 in [0, 1]."""
    return images.float().div_(255)


def _loader(
    dataset: Dataset[Any],
    batch_size: int,
    *,
    shuffle: bool = False,
    sampler: Sampler[int] | None = None,
) -> DataLoader[Any]:
    # No workers: a batch is two gathers, and sending it between processes would cost more.
    return DataLoader(
        dataset, batch_size, shuffle=shuffle, sampler=sampler, collate_fn=identity_collate
    )


def identity_collate(batch: Any) -> Any:
    """Return a batch as it is; the data set has collated it."""
    return batch
