import pytest
import torch
from torchvision.ops import box_iou

from mnist_vision.common.errors import UserError
from mnist_vision.data.datamodule import DigitDataset, to_unit_range
from mnist_vision.data.scenes import layout
from mnist_vision.data.scenes.drawing import draw_scenes
from mnist_vision.data.scenes.layout import SceneRules
from mnist_vision.data.scenes.mnist_scenes import MNISTScenesDataModule
from tests.data.scenes.helpers import RULES, all_of, blots, draw, same


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
