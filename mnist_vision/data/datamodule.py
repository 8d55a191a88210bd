"""The one source of batches for every architecture."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnist_vision.common.errors import check_whole
from mnist_vision.data.augmentation import RandomAffine
from mnist_vision.data.download import ensure_mnist
from mnist_vision.data.mnist import load_split

Batch = tuple[Tensor, Tensor]

NUM_TRAIN_IMAGES = 60_000
NUM_SAMPLE_IMAGES = 10_000


@dataclass(frozen=True)
class DigitDataset(Dataset[Batch]):
    """Digits in memory, fetched a whole batch at a time.

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
        """Fetches a batch in two gathers; torch's DataLoader prefers this method where it exists.

        Source: torch.utils.data._utils.fetch, "possibly batched index".
        """
        rows = torch.tensor(indices)
        return self.images.index_select(0, rows), self.targets.index_select(0, rows)

    def subset(self, indices: Tensor) -> "DigitDataset":
        """The digits at `indices`, `Tensor[M]` int64."""
        return DigitDataset(self.images[indices], self.targets[indices])


def stratified_order(targets: Tensor, seed: int) -> Tensor:
    """A seeded random order in which every stretch has the class shares of the whole.

    Each image gets a random rank within its class; sorted by rank over class size, any prefix is
    stratified to within one image a class.

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
    stratified; the official 10,000 test images are left whole. Batches travel to the device as
    bytes and become floats there; training batches are then augmented.

    Args:
        root: A torchvision data root: the files lie in `root`/MNIST/raw, and are fetched if need
            be. `~` stands for the home folder.
        download: Whether the network may be used to get them.
        batch_size: Training images a step and device, at least 1.
        eval_batch_size: Images a step in validation and test, at least 1.
        val_size: How many of the 60,000 validate, 10 to 59,990.
        split_seed: Seed of the split. Not the run's seed: all runs share one split.
        augmentation: Distortion of training images, on the device; None for none.

    Raises:
        FieldError: If a size is outside its range.
    """

    # Whether an image shows several digits.
    gives_scenes: ClassVar[bool] = False
    # Sets of digits here, of scenes in a subclass.
    train_set: Any
    val_set: Any
    train_sample: Any
    test_set: Any

    def __init__(
        self,
        root: str,
        *,
        download: bool = True,
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        val_size: int = 5000,
        split_seed: int = 0,
        augmentation: RandomAffine | None,
    ) -> None:
        super().__init__()
        check_whole("batch_size", batch_size, 1)
        check_whole("eval_batch_size", eval_batch_size, 1)
        check_whole("val_size", val_size, 10, NUM_TRAIN_IMAGES - 10)
        check_whole("split_seed", split_seed, 0)
        self.root = root
        self.download = download
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.val_size = val_size
        self.split_seed = split_seed
        self.augmentation = augmentation

    def prepare_data(self) -> None:
        """Fetches and verifies the files; once a machine.

        Raises:
            UserError: If they cannot be had.
        """
        ensure_mnist(self.root, download=self.download)

    def setup(self, stage: str) -> None:
        """Loads what `stage` needs: "fit" the training and validation sets, "test" the test set."""
        if stage == "fit":
            official = DigitDataset(*load_split(self.root, "train"))
            order = stratified_order(official.targets, self.split_seed)
            self.val_set = official.subset(order[: self.val_size])
            self.train_set = official.subset(order[self.val_size :])
            self.train_sample = official.subset(order[self.val_size :][:NUM_SAMPLE_IMAGES])
        elif stage == "test":
            self.test_set = DigitDataset(*load_split(self.root, "test"))

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches, shuffled anew each epoch."""
        return _loader(self.train_set, self.batch_size, shuffle=True)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Two loaders: the validation images, and a fixed sample of the training images.

        The sample, 10,000 images (all, if there are fewer) without augmentation, is what training
        accuracy is measured on: it compares with validation accuracy, which a running mean over
        the augmented images of an epoch does not.
        """
        return [_loader(part, self.eval_batch_size) for part in (self.val_set, self.train_sample)]

    def test_dataloader(self) -> DataLoader[Any]:
        """Test batches, every image once, in the official order."""
        return _loader(self.test_set, self.eval_batch_size)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Any]:
        """Turns bytes into floats in [0, 1], on the device, and augments training batches."""
        images, targets = batch
        images = to_unit_range(images)
        if self.augmentation is not None and self.trainer is not None and self.trainer.training:
            images = self.augmentation(images)
        return images, targets


def to_unit_range(images: Tensor) -> Tensor:
    """Bytes 0..255 to float32 in [0, 1]."""
    return images.float().div_(255)


def _loader(dataset: Dataset[Any], batch_size: int, *, shuffle: bool = False) -> DataLoader[Any]:
    # No workers: a batch is two gathers, and handing it between processes would cost more.
    return DataLoader(dataset, batch_size, shuffle=shuffle, collate_fn=as_it_is)


def as_it_is(batch: Any) -> Any:
    """Collates what is a batch already."""
    return batch
