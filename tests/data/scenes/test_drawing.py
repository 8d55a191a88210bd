import torch

from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.data.datamodule import DigitDataset, to_unit_range
from mnist_vision.data.scenes.drawing import draw_scenes
from mnist_vision.data.scenes.layout import SceneRules
from tests.data.scenes.helpers import RULES, all_of, blots, draw, drawn_one_by_one


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
