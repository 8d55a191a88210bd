import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities import move_data_to_device
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.ops import box_iou

from mnist_vision.common.errors import FieldError, UserError
from mnist_vision.data.augmentation import RandomAffine
from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.data.datamodule import DigitDataset, MNISTDataModule, to_unit_range
from mnist_vision.data.scenes import layout
from mnist_vision.data.scenes.drawing import draw_scenes
from mnist_vision.data.scenes.layout import SceneRules
from mnist_vision.data.scenes.mnist_scenes import MNISTScenesDataModule
from mnist_vision.data.scenes.scene_dataset import SceneDataset, SceneLayouts

RULES = SceneRules([64, 96, 128], [1, 5], [0.6, 1.4], 0.1)


def blots(num_images, seed=0):
    """Images and targets as MNIST's; each image a speckled rectangle of its own, up to 20 px."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(num_images, 1, 28, 28, dtype=torch.uint8)
    for image in images:
        x, width = torch.randint(4, 12, (2,), generator=generator).tolist()
        size = (20, width)
        image[0, 4:24, x : x + width] = torch.randint(60, 256, size, generator=generator)
    return images, torch.arange(num_images) % 10


@pytest.fixture
def make(digits, monkeypatch):
    """Makes a data module of 500 training, 100 validation and 200 test blots, all set up."""
    monkeypatch.setattr(
        "mnist_vision.data.datamodule.load_split",
        lambda root, split: blots(600 if split == "train" else 200, seed=len(split)),
    )

    def make_datamodule(**settings):
        small = {"num_train_scenes": 300, "num_val_scenes": 60, "num_test_scenes": 90}
        small |= {"augmentation": None}
        datamodule = MNISTScenesDataModule("nowhere", val_size=100, **(small | settings))
        datamodule.trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        datamodule.setup("fit")
        datamodule.setup("test")
        return datamodule

    return make_datamodule


def all_of(scene_set):
    return scene_set[torch.arange(len(scene_set))]


def draw(scene_set):
    tiles, layouts = all_of(scene_set)
    return draw_scenes(to_unit_range(tiles), layouts)


def drawn_one_by_one(tiles, layouts):
    """Images and boxes as `draw_scenes` gives them, a digit at a time, by torch's resampling."""
    size = int(layouts.canvas_sizes.max())
    images = torch.zeros(len(tiles), 1, size, size)
    boxes = torch.zeros(*layouts.labels.shape, 4)
    for scene in range(len(tiles)):
        canvas_size = int(layouts.canvas_sizes[scene])
        for digit in range(tiles.shape[1]):
            if layouts.labels[scene, digit] < 0:
                continue
            # Where on the tile, from -1 to 1, each pixel of the canvas lies.
            x, y = (
                (torch.arange(canvas_size) + 0.5 - corner) / layouts.scales[scene, digit] / 14 - 1
                for corner in layouts.corners[scene, digit]
            )
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
            drawn = F.grid_sample(tiles[scene, digit, None], grid[None], align_corners=False)[0, 0]
            part = images[scene, 0, :canvas_size, :canvas_size]
            part.copy_(torch.maximum(part, drawn))
            rows, columns = (drawn > 0.1).nonzero(as_tuple=True)
            ends = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            boxes[scene, digit] = torch.stack(ends)
    return images, boxes


def same(batch, other):
    return torch.equal(batch[0], other[0]) and all(map(torch.equal, batch[1], other[1]))


# What scenes look like


def test_drawing_equals_resampling_each_digit_alone():
    tiles, layouts = all_of(RULES.lay_out(DigitDataset(*blots(50)), 20, seed=0))
    images, digits = draw_scenes(to_unit_range(tiles), layouts)
    expected_images, expected_boxes = drawn_one_by_one(to_unit_range(tiles), layouts)
    torch.testing.assert_close(images, expected_images, atol=1e-4, rtol=0)
    assert torch.equal(digits.boxes, expected_boxes)


def test_the_contract_of_a_batch():
    images, digits = draw(RULES.lay_out(DigitDataset(*blots(50)), 40, seed=0))
    assert images.shape == (40, 1, 128, 128)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert 0.9 < images.max() <= 1
    assert isinstance(digits, DigitBoxes)
    assert digits.boxes.shape == (40, 5, 4)
    assert digits.boxes.dtype == torch.float32
    assert digits.labels.dtype == torch.int64


def test_boxes_are_tight_around_what_is_drawn():
    lone = SceneRules([64], [1, 1], [0.6, 1.4], 0)
    images, digits = draw(lone.lay_out(DigitDataset(*blots(50)), 50, seed=0))
    for image, box in zip(images[:, 0], digits.boxes[:, 0], strict=True):
        rows, columns = (image > 0.1).nonzero(as_tuple=True)
        assert box[:2].tolist() == [columns.min(), rows.min()]
        assert box[2:].tolist() == [columns.max() + 1, rows.max() + 1]


def test_labels_are_those_of_the_digits_shown():
    scene_set = RULES.lay_out(DigitDataset(*blots(50)), 100, seed=0)
    tiles, _ = all_of(scene_set)
    _, digits = draw(scene_set)
    assert torch.equal(digits.is_digit, scene_set.indices >= 0)
    shown = scene_set.indices[digits.is_digit]
    assert torch.equal(digits.labels[digits.is_digit], scene_set.digits.targets[shown])
    assert torch.equal(tiles[digits.is_digit], scene_set.digits.images[shown])


def test_padding_is_black_and_no_digit():
    scene_set = RULES.lay_out(DigitDataset(*blots(50)), 100, seed=0)
    tiles, layouts = all_of(scene_set)
    _, digits = draw(scene_set)
    is_padding = scene_set.indices < 0
    assert 0 < is_padding.sum() < is_padding.numel()
    assert not tiles[is_padding].any()
    assert (layouts.labels[is_padding] == -1).all()
    assert not digits.boxes[is_padding].any()


def test_a_tile_without_ink_is_no_digit():
    tiles, layouts = all_of(RULES.lay_out(DigitDataset(*blots(50)), 5, seed=0))
    tiles[2] = 0
    images, digits = draw_scenes(to_unit_range(tiles), layouts)
    assert not images[2].any()
    assert not digits.is_digit[2].any()


@pytest.mark.parametrize("max_overlap", [0, 0.1, 0.5])
def test_no_two_digits_overlap_more_than_allowed(max_overlap):
    rules = SceneRules([64], [5, 5], [0.6, 1.4], max_overlap)
    _, digits = draw(rules.lay_out(DigitDataset(*blots(50)), 200, seed=0))
    overlaps = torch.stack([box_iou(b, b).fill_diagonal_(0) for b in digits.boxes])
    assert overlaps.max() <= max_overlap + 1e-6
    assert overlaps.max() >= max_overlap - 0.05


@pytest.mark.parametrize("images", ["blots", "full tiles"])
def test_digits_lie_wholly_inside(images):
    digits = DigitDataset(*blots(50))
    if images == "full tiles":
        digits.images.fill_(255)
    rules = SceneRules([64, 96], [1, 2], [0.6, 1.4], 0.5)
    tiles, layouts = all_of(rules.lay_out(digits, 200, seed=0))
    _, found = draw_scenes(to_unit_range(tiles), layouts)
    # With room around the canvas nothing more comes to light.
    roomy = layouts._replace(
        corners=layouts.corners + 10, canvas_sizes=torch.full_like(layouts.canvas_sizes, 128)
    )
    _, whole = draw_scenes(to_unit_range(tiles), roomy)
    assert torch.equal(found.boxes[found.is_digit] + 10, whole.boxes[found.is_digit])
    # They come up to every edge.
    assert found.boxes[found.is_digit].min() == 0
    assert found.boxes[layouts.canvas_sizes == 64].max() == 64


def test_numbers_scales_and_canvases_are_drawn_from_the_whole_of_their_ranges():
    rules = SceneRules([64, 96, 128], [2, 4], [0.5, 1.25], 0.1)
    scene_set = rules.lay_out(DigitDataset(*blots(500)), 3000, seed=0)
    _, layouts = all_of(scene_set)
    is_digit = layouts.labels >= 0
    shares = is_digit.sum(dim=1).bincount(minlength=5) / 3000
    torch.testing.assert_close(shares, torch.tensor([0, 0, 1, 1, 1]) / 3, atol=0.03, rtol=0)
    shares = (layouts.canvas_sizes[:, None] == torch.tensor([64, 96, 128])).float().mean(dim=0)
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.03, rtol=0)
    logs = layouts.scales[is_digit].log() / torch.tensor(2.5).log()
    logs = logs - torch.tensor(0.5).log() / torch.tensor(2.5).log()
    assert 0 <= logs.min() < 0.01
    assert 0.99 < logs.max() <= 1.00001
    torch.testing.assert_close(
        logs.histc(4, 0, 1) / len(logs), torch.full((4,), 0.25), atol=0.03, rtol=0
    )


def test_every_digit_is_used_equally_often():
    scene_set = RULES.lay_out(DigitDataset(*blots(50)), 300, seed=0)
    counts = scene_set.indices[scene_set.indices >= 0].bincount(minlength=50)
    assert counts.max() - counts.min() <= 1


def test_the_same_seed_gives_the_same_scenes():
    digits = DigitDataset(*blots(50))
    first, second, other = (all_of(RULES.lay_out(digits, 50, seed)) for seed in (4, 4, 5))
    assert same(first, second)
    assert not same(first, other)


def test_scenes_that_do_not_fit_at_first_are_laid_out_anew(monkeypatch):
    monkeypatch.setattr(layout, "NUM_PLACES", 1)
    crowded = SceneRules([64], [4, 4], [0.8, 1.4], 0)
    _, digits = draw(crowded.lay_out(DigitDataset(*blots(50)), 200, seed=0))
    assert digits.is_digit.all()
    assert all(box_iou(b, b).fill_diagonal_(0).max() == 0 for b in digits.boxes)


# The data module


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


def test_a_whole_batch_is_fetched_at_once_and_equals_single_fetches():
    scene_set = RULES.lay_out(DigitDataset(*blots(50)), 20, seed=0)
    tiles, layouts = scene_set.__getitems__([3, 3, 17])
    assert tiles.shape == (3, 5, 1, 28, 28)
    assert tiles.dtype == torch.uint8
    for position, index in enumerate([3, 3, 17]):
        tile, layout = scene_set[index]
        assert same((tile, layout), (tiles[position], [values[position] for values in layouts]))


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


def test_sorting_keeps_every_scene():
    scene_set = RULES.lay_out(DigitDataset(*blots(50)), 90, seed=0)
    pairs = [
        sorted(zip(s.indices.tolist(), s.layouts.corners.tolist(), strict=True))
        for s in (scene_set, scene_set.by_canvas_size())
    ]
    assert pairs[0] == pairs[1]


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
    assert not same(first[0], second[0])


def test_the_loader_is_one_that_lightning_can_distribute(make):
    loader = make().train_dataloader()
    assert type(loader) is DataLoader
    assert len(loader.sampler.data_source) == len(loader)


def test_epochs_follow_from_the_state_of_torchs_generator(make):
    datamodule = make(augmentation=RandomAffine(10, 0, 0))
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
    datamodule = make(augmentation=RandomAffine(10, 0, 0))
    batch = next(iter(datamodule.train_dataloader()))
    plain, _ = draw_scenes(to_unit_range(batch[0]), batch[1])
    datamodule.trainer.validating = True
    assert torch.equal(datamodule.on_after_batch_transfer(batch, 0)[0], plain)
    datamodule.trainer.training = True
    assert not torch.equal(datamodule.on_after_batch_transfer(batch, 0)[0], plain)


def test_what_augmentation_moves_over_the_edge_of_the_canvas_is_cut_off(make):
    datamodule = make(augmentation=RandomAffine(0, 14, 0))
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


# Refusals


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


def test_digits_larger_than_the_smallest_canvas_are_refused():
    with pytest.raises(UserError, match=r"data\.scales=\[1, 3.5\].* 70 px.* 64 px; ") as error:
        MNISTScenesDataModule("nowhere", augmentation=None, scales=[1, 3.5])
    assert "\n" not in str(error.value)


def test_more_digits_than_the_smallest_canvas_can_hold_are_refused():
    with pytest.raises(UserError, match=r"20 digits have no room on a canvas of 64 px"):
        MNISTScenesDataModule(
            "nowhere", augmentation=None, num_digits=[1, 20], scales=[1, 1], max_overlap=0
        )


def test_scenes_that_can_hardly_be_laid_out_are_refused_after_many_tries(make):
    with pytest.raises(UserError, match=r"^20 digits found no room") as error:
        make(num_digits=[10, 20], scales=[0.9, 1.1], max_overlap=0.05, canvas_sizes=[64, 512])
    message = str(error.value)
    assert "\n" not in message
    assert "canvas of 64 px" in message
    for setting in ("num_digits=[10, 20]", "scales=[0.9, 1.1]", "max_overlap=0.05"):
        assert f"data.{setting}" in message
    assert "data.canvas_sizes" in message
