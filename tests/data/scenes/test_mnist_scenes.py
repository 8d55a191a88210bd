import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities import move_data_to_device
from torch.utils.data import DataLoader

from mnist_vision.common.errors import FieldError
from mnist_vision.data.augmentation import Augmentation, RandomAffine
from mnist_vision.data.datamodule import MNISTDataModule, to_unit_range
from mnist_vision.data.scenes.drawing import draw_scenes
from mnist_vision.data.scenes.mnist_scenes import MNISTScenesDataModule
from mnist_vision.data.scenes.scene_dataset import SceneDataset, SceneLayouts
from tests.data.scenes.helpers import all_of, draw, same


def test_a_set_of_scenes_shows_digits_of_its_own_split_only(make):
    datamodule, splits = make(), MNISTDataModule("nowhere", val_size=100, augmentation=None)
    splits.setup("fit")
    splits.setup("test")

    def shown(name):
        tiles, layouts = all_of(getattr(datamodule, name))
        return {tile.numpy().tobytes() for tile in tiles[layouts.labels >= 0]}

    def known(name):
        return {image.numpy().tobytes() for image in getattr(splits, name).images}

    assert shown("train_set") == known("train_set")
    assert shown("train_sample") <= known("train_set")
    assert shown("val_set") == known("val_set")
    assert shown("test_set") <= known("test_set")
    assert known("train_set").isdisjoint(known("val_set"))
    assert known("test_set").isdisjoint(known("train_set") | known("val_set"))


def test_scenes_depend_on_the_seed_alone(make):
    first, second, other = make(), make(batch_size=7, eval_batch_size=9), make(split_seed=1)
    only_test = MNISTScenesDataModule(
        "nowhere", val_size=100, num_test_scenes=90, augmentation=None
    )
    only_test.setup("test")
    assert same(all_of(first.test_set), all_of(only_test.test_set))
    for name in ("train_set", "val_set", "train_sample", "test_set"):
        scene_set = all_of(getattr(first, name))
        assert same(scene_set, all_of(getattr(second, name)))
        assert not same(scene_set, all_of(getattr(other, name)))


def test_every_evaluation_scene_comes_once_small_canvases_first(make):
    datamodule = make(eval_batch_size=32)
    val, sample = datamodule.val_dataloader()
    for loader, scene_set, number in (
        (val, datamodule.val_set, 60),
        (sample, datamodule.train_sample, 60),
        (datamodule.test_dataloader(), datamodule.test_set, 90),
    ):
        batches = list(loader)
        tiles = torch.cat([tiles for tiles, _ in batches])
        layouts = [torch.cat(parts) for parts in zip(*(b for _, b in batches), strict=True)]
        assert len(scene_set) == number
        assert same((tiles, layouts), all_of(scene_set))
        canvas_sizes = layouts[3].tolist()
        assert canvas_sizes == sorted(canvas_sizes)


def test_the_sample_is_of_training_scenes(make):
    datamodule = make(num_val_scenes=400)
    assert same(all_of(datamodule.train_sample), all_of(datamodule.train_set.by_canvas_size()))


def test_training_batches_have_one_canvas_size_and_cover_every_scene(make):
    datamodule = make()
    loader = datamodule.train_dataloader()
    first, second = list(loader), list(loader)
    assert len(first) == len(loader)
    for _, layouts in first:
        assert len(layouts.canvas_sizes) <= 32
        assert len(layouts.canvas_sizes.unique()) == 1
    everything = sorted(all_of(datamodule.train_set)[1].corners.tolist())
    assert sorted(c for _, layouts in first for c in layouts.corners.tolist()) == everything
    assert not all(map(same, first, second))


def test_the_loader_is_one_that_lightning_can_distribute(make):
    loader = make().train_dataloader()
    assert type(loader) is DataLoader
    assert len(loader.sampler.data_source) == len(loader)


def test_epochs_follow_from_the_state_of_torchs_generator(make):
    datamodule = make(augmentation=Augmentation({"affine": RandomAffine(10, 0, 0)}))
    datamodule.trainer.training = True

    def epoch():
        return [datamodule.on_after_batch_transfer(b, 0) for b in datamodule.train_dataloader()]

    torch.manual_seed(3)
    epoch()
    between = torch.get_rng_state()
    second = epoch()
    torch.set_rng_state(between)
    assert all(same(a, b) for a, b in zip(second, epoch(), strict=True))


def test_a_scene_is_the_same_in_every_batch(make):
    datamodule = make()
    images, digits = draw(datamodule.val_set)
    for index in (0, 30, 59):
        one, its_digits = datamodule.on_after_batch_transfer(
            datamodule.val_set.__getitems__([index]), 0
        )
        size = one.shape[-1]
        assert size == datamodule.val_set.layouts.canvas_sizes[index]
        torch.testing.assert_close(one[0], images[index, :, :size, :size])
        assert not images[index, :, size:].any()
        assert not images[index, :, :, size:].any()
        assert torch.equal(its_digits.boxes[0], digits.boxes[index])
        assert torch.equal(its_digits.labels[0], digits.labels[index])


def test_only_training_scenes_are_augmented(make):
    datamodule = make(augmentation=Augmentation({"affine": RandomAffine(10, 0, 0)}))
    batch = next(iter(datamodule.train_dataloader()))
    plain, _ = draw_scenes(to_unit_range(batch[0]), batch[1])
    datamodule.trainer.validating = True
    assert torch.equal(datamodule.on_after_batch_transfer(batch, 0)[0], plain)
    datamodule.trainer.training = True
    assert not torch.equal(datamodule.on_after_batch_transfer(batch, 0)[0], plain)


def test_what_augmentation_moves_over_the_edge_of_the_canvas_is_cut_off(make):
    datamodule = make(augmentation=Augmentation({"affine": RandomAffine(0, 14, 0)}))
    datamodule.trainer.training = True
    batch = datamodule.val_set.__getitems__(list(range(60)))
    images, digits = datamodule.on_after_batch_transfer(batch, 0)
    canvas_sizes = batch[1].canvas_sizes
    for image, canvas_size in zip(images[:, 0], canvas_sizes, strict=True):
        assert not image[canvas_size:].any()
        assert not image[:, canvas_size:].any()
    assert (digits.boxes[..., 2:].amax(dim=(1, 2)) <= canvas_sizes).all()
    boxes = digits.boxes[digits.is_digit]
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_lightning_moves_a_batch(make):
    batch = next(iter(make().train_dataloader()))
    tiles, layouts = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(layouts, SceneLayouts)
    assert all(values.is_meta for values in (tiles, *layouts))


def test_lightning_trains_and_tests_on_scenes(make):
    class Counter(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen = {"train": 0, "val": 0, "test": 0}

        def look(self, stage, batch):
            images, digits = batch
            assert images.shape[-1] in (64, 96, 128)
            assert digits.is_digit.any(dim=1).all()
            self.seen[stage] += len(images)
            return images.mean() * self.weight

        def training_step(self, batch, batch_idx):
            return self.look("train", batch)

        def validation_step(self, batch, batch_idx, dataloader_idx):
            self.look("val", batch)

        def test_step(self, batch, batch_idx):
            self.look("test", batch)

        def find_targets(self, images, targets):
            return targets

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    datamodule, model = make(), Counter()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=datamodule)
    trainer.test(model, datamodule=datamodule, verbose=False)
    assert model.seen == {"train": 600, "val": 240, "test": 90}


def test_real_scenes_are_laid_out_as_configured(mnist_root):
    datamodule = MNISTScenesDataModule(
        mnist_root, download=False, num_test_scenes=300, augmentation=None
    )
    datamodule.setup("test")
    assert isinstance(datamodule.test_set, SceneDataset)
    images, digits = draw(datamodule.test_set)
    assert images.shape == (300, 1, 128, 128)
    assert digits.is_digit.any(dim=1).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("canvas_sizes", []),
        ("canvas_sizes", 64),
        ("canvas_sizes", "64"),
        ("canvas_sizes", [64, 28]),
        ("canvas_sizes", [516]),
        ("canvas_sizes", [66]),
        ("canvas_sizes", [64.0]),
        ("num_digits", 3),
        ("num_digits", [1, 2, 3]),
        ("num_digits", [0, 3]),
        ("num_digits", [1, 21]),
        ("num_digits", [4, 2]),
        ("scales", 1.0),
        ("scales", [0.1, 1]),
        ("scales", [1, 5]),
        ("scales", [1.2, 0.8]),
        ("scales", ["small", "large"]),
        ("max_overlap", -0.1),
        ("max_overlap", 1.1),
        ("num_train_scenes", 0),
        ("num_val_scenes", 0),
        ("num_test_scenes", 1.5),
        ("batch_size", 0),
    ],
)
def test_settings_outside_their_range_are_refused(field, value):
    with pytest.raises(FieldError, match=f"^{field}=.*: must be ") as error:
        MNISTScenesDataModule("nowhere", augmentation=None, **{field: value})
    assert error.value.field == field
