import pytest
import torch
from lightning import Trainer
from torch.utils.data import DataLoader

from mnist_vision.common.errors import FieldError, UserError
from mnist_vision.data.augmentation import Augmentation, RandomAffine
from mnist_vision.data.boxes import locate
from mnist_vision.data.datamodule import DigitDataset, MNISTDataModule, stratified_order
from mnist_vision.models.cnn import CNN
from mnist_vision.models.faster_rcnn import FasterRCNN
from tests.conftest import results_of, synthetic_digits


@pytest.fixture
def datamodule(digits):
    module = MNISTDataModule(
        "nowhere", batch_size=64, eval_batch_size=30, val_size=100, augmentation=None
    )
    module.setup("fit")
    module.setup("test")
    return module


def pixels(image):
    return image.numpy().tobytes()


def rows(dataset):
    return {pixels(image) for image in dataset.images}


def test_batches_keep_the_contract(datamodule):
    batch = next(iter(datamodule.train_dataloader()))
    images, targets = datamodule.on_after_batch_transfer(batch, 0)
    assert images.shape == (64, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() == 1
    assert targets.dtype == torch.int64


def test_a_whole_batch_is_fetched_at_once_and_equals_single_fetches():
    dataset = DigitDataset(*synthetic_digits(50))
    images, targets = dataset.__getitems__([3, 3, 41])
    for position, index in enumerate([3, 3, 41]):
        image, target = dataset[index]
        assert torch.equal(images[position], image)
        assert targets[position] == target


def test_training_and_validation_share_no_image_and_are_all_there_is(datamodule):
    train, val = rows(datamodule.train_set), rows(datamodule.val_set)
    assert len(train) == 500
    assert len(val) == 100
    assert not train & val
    assert rows(datamodule.train_sample) <= train


def test_every_evaluation_image_comes_once_in_order(datamodule):
    val, sample = datamodule.val_dataloader()
    for loader, dataset in (
        (val, datamodule.val_set),
        (sample, datamodule.train_sample),
        (datamodule.test_dataloader(), datamodule.test_set),
    ):
        images = torch.cat([images for images, _ in loader])
        assert torch.equal(images, dataset.images)


def test_processes_that_train_together_measure_each_image_once(command, mnist_root, tmp_path):
    """One has a batch of validation images more than the other: 29,001 images and 29,000."""
    done = command(
        "train", "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1", "logger=null",
        "trainer.limit_train_batches=1", "trainer.log_every_n_steps=1", "data.val_size=58_001",
        "data.eval_batch_size=1000", "hydra.run.dir=run", "model.widths=[2,4]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = results_of(tmp_path / "run")["history"]
    for key, size in (("val/accuracy", 58_001), ("train/accuracy", 1999)):
        num_right = row[key] * size
        assert num_right > 0.05 * size  # else 1/58,001 and 1/58,002 are hard to tell apart
        assert num_right == pytest.approx(round(num_right), abs=0.01), key


class Together:
    """Stands for the trainer of one of several processes."""

    def __init__(self, rank, num_replicas):
        self.distributed_sampler_kwargs = {"rank": rank, "num_replicas": num_replicas}


@pytest.mark.parametrize("num_processes", [1, 3, 100])
def test_each_evaluation_image_is_in_one_share(datamodule, num_processes):
    for part, name in enumerate(("val_set", "train_sample")):
        shares = []
        for rank in range(num_processes):
            datamodule.trainer = Together(rank, num_processes)
            shares += [image for batch, _ in datamodule.val_dataloader()[part] for image in batch]
        whole = list(getattr(datamodule, name).images)
        assert sorted(map(pixels, shares)) == sorted(map(pixels, whole))


def test_more_processes_than_evaluation_images_are_refused_in_each(datamodule):
    for rank in (0, 100):
        datamodule.trainer = Together(rank, 101)
        with pytest.raises(UserError, match=r"trainer\.devices: 101 processes .* images: 100"):
            datamodule.val_dataloader()


def test_training_batches_are_shuffled_anew_and_cover_everything(datamodule):
    first, second = (
        torch.cat([images for images, _ in datamodule.train_dataloader()]) for _ in range(2)
    )
    assert len(first) == 500
    assert not torch.equal(first, second)
    assert rows(DigitDataset(first, first)) == rows(datamodule.train_set)


def test_only_training_batches_are_augmented(digits):
    augmentation = Augmentation({"affine": RandomAffine(0, 5, 0)})
    module = MNISTDataModule("nowhere", val_size=100, augmentation=augmentation)
    module.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.trainer.strategy.connect(CNN(widths=[2]))
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    plain = batch[0].float() / 255
    module.trainer.validating = True
    assert torch.equal(module.on_after_batch_transfer(batch, 0)[0], plain)
    module.trainer.training = True
    assert not torch.equal(module.on_after_batch_transfer(batch, 0)[0], plain)


def test_boxes_are_found_after_digits_are_distorted_and_before_pictures_are_degraded(digits):
    augmentation = Augmentation({"right": lambda x: x.roll(3, dims=3)}, {"invert": lambda x: 1 - x})
    module = MNISTDataModule("nowhere", val_size=100, augmentation=augmentation)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    images, found = module.prepare_training_batch(batch, FasterRCNN(widths=[2, 2]).find_targets)
    moved = (batch[0].float() / 255).roll(3, dims=3)
    torch.testing.assert_close(images, 1 - moved)
    assert torch.equal(found.boxes, locate(moved, batch[1]).boxes)
    _, targets = module.prepare_training_batch(batch, CNN(widths=[2]).find_targets)
    assert torch.equal(targets, batch[1])


def test_the_loader_is_one_that_lightning_can_distribute(datamodule):
    loader = datamodule.train_dataloader()
    assert type(loader) is DataLoader
    assert loader.sampler.data_source is datamodule.train_set


def test_any_prefix_of_the_order_is_stratified():
    targets = torch.arange(1000) % 10
    targets[targets == 9] = 0  # one class twice as large, one missing
    order = stratified_order(targets, seed=0)
    assert torch.equal(order.sort().values, torch.arange(1000))
    for size in (10, 97, 500):
        share = targets[order[:size]].bincount(minlength=10) / size
        expected = targets.bincount(minlength=10) / 1000
        assert (share - expected).abs().max() <= 1 / size


def test_the_order_depends_on_the_seed_alone():
    targets = torch.arange(1000) % 10
    assert torch.equal(stratified_order(targets, 1), stratified_order(targets, 1))
    assert not torch.equal(stratified_order(targets, 1), stratified_order(targets, 2))


def test_the_real_split(mnist_root):
    module = MNISTDataModule(mnist_root, download=False, augmentation=None)
    module.setup("fit")
    assert len(module.train_set) == 55_000
    assert len(module.val_set) == 5_000
    assert len(module.train_sample) == 10_000
    share = module.val_set.targets.bincount() / 5_000
    overall = module.train_set.targets.bincount() / 55_000
    assert (share - overall).abs().max() < 0.0005


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("batch_size", "many"),
        ("eval_batch_size", -1),
        ("val_size", 60_000),
        ("val_size", 0),
        ("split_seed", -1),
    ],
)
def test_sizes_outside_their_range_are_refused(field, value):
    with pytest.raises(FieldError, match=f"{field}={value}: must be a whole number"):
        MNISTDataModule("nowhere", augmentation=None, **{field: value})
