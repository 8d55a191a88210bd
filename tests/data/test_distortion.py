"""What all random distortions of images have in common, and what each of them does."""

import pytest
import torch

from mnist_vision.common.errors import FieldError
from mnist_vision.data.augmentation import (
    Augmentation,
    RandomAffine,
    RandomElastic,
    RandomOutline,
    RandomStroke,
    dilate,
    erode,
)
from mnist_vision.data.degradation import (
    RandomBlur,
    RandomClutter,
    RandomLight,
    RandomLines,
    RandomNoise,
    RandomRegions,
    RandomSpots,
)

DISTORTIONS = {
    RandomElastic: {"amount": 1.0}, RandomStroke: {}, RandomOutline: {}, RandomClutter: {},
    RandomLines: {}, RandomSpots: {}, RandomRegions: {}, RandomBlur: {"longest": 4},
    RandomLight: {}, RandomNoise: {},
}  # fmt: skip


@pytest.fixture
def strokes():
    """50 images of a bright bar of three pixels' width on black."""
    images = torch.zeros(50, 1, 28, 28)
    images[..., 6:22, 12:15] = 0.9
    return images


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def changed(images, others):
    return (images != others).flatten(1).any(dim=1)


@pytest.mark.parametrize("kind", DISTORTIONS)
class TestEach:
    def test_it_changes_its_share_of_the_images_and_not_its_input(self, kind, strokes):
        before = strokes.clone()
        after = kind(share=0.4, **DISTORTIONS[kind])(strokes)
        assert torch.equal(strokes, before)
        assert after.shape == strokes.shape
        assert after.dtype == torch.float32
        # An amount may be nearly 0, or a rectangle lie outside.
        assert 15 <= changed(strokes, after).sum() <= 20

    def test_values_stay_in_range(self, kind, strokes):
        after = kind(share=1, **DISTORTIONS[kind])(strokes)
        assert after.isfinite().all()
        assert after.min() >= 0
        assert after.max() <= 1

    def test_images_of_any_size_and_none_at_all_are_taken(self, kind, strokes):
        distort = kind(share=1, **DISTORTIONS[kind])
        assert distort(torch.rand(3, 1, 40, 96)).shape == (3, 1, 40, 96)
        assert distort(strokes[:0]).shape == (0, 1, 28, 28)
        assert kind(share=0, **DISTORTIONS[kind])(strokes) is strokes

    def test_it_follows_from_the_state_of_torchs_generator(self, kind, strokes):
        distort = kind(share=0.5, **DISTORTIONS[kind])
        torch.manual_seed(5)
        first = distort(strokes)
        second = distort(strokes)
        torch.manual_seed(5)
        assert torch.equal(distort(strokes), first)
        assert not torch.equal(first, second)

    def test_images_of_a_batch_are_distorted_differently(self, kind, strokes):
        after = kind(share=1, **DISTORTIONS[kind])(strokes)
        # There are two kinds of outlines.
        assert len(after.flatten(1).unique(dim=0)) > (1 if kind is RandomOutline else 20)

    @pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "0.5"])
    def test_a_share_that_is_none_is_refused(self, kind, share):
        with pytest.raises(FieldError, match="share="):
            kind(share=share, **DISTORTIONS[kind])


def test_small_batches_have_the_right_share_too(strokes):
    distort = RandomNoise(share=0.1)
    num_changed = sum(int(changed(strokes[:2], distort(strokes[:2])).sum()) for _ in range(1000))
    assert 150 <= num_changed <= 250


def test_an_elastic_distortion_keeps_the_ink_and_moves_it_a_little(strokes):
    after = RandomElastic(share=1, amount=1.0)(strokes)
    ratio = after.sum(dim=(1, 2, 3)) / strokes.sum(dim=(1, 2, 3))
    assert ratio.min() > 0.6
    assert ratio.max() < 1.5
    assert not after[..., :2, :].any()


def test_strokes_become_wider_or_thinner_by_at_most_a_pixel(strokes):
    ink = RandomStroke(share=1)(strokes).sum(dim=(1, 2, 3))
    assert ink.min() < strokes[0].sum() < ink.max()
    assert ink.max() <= dilate(strokes[:1]).sum()
    assert ink.min() >= erode(strokes[:1]).sum()


def test_an_outline_is_dark_inside(strokes):
    after = RandomOutline(share=1)(strokes)
    assert not after[..., 10:18, 13].any()
    assert (after[..., 10:18, 10:17].amax(dim=(1, 2, 3)) > 0.8).all()


def test_regions_are_inverted(strokes):
    after = RandomRegions(share=1)(strokes)
    is_inverted = after != strokes
    assert torch.equal(after[is_inverted], (1 - strokes)[is_inverted])
    assert 0.1 < is_inverted.float().mean() < 0.7


def test_a_blur_keeps_the_brightness(strokes):
    after = RandomBlur(share=1, longest=2)(strokes)
    torch.testing.assert_close(after.sum(dim=(1, 2, 3)), strokes.sum(dim=(1, 2, 3)))
    assert (after.amax(dim=(1, 2, 3)) <= 0.9001).all()


def test_light_keeps_ink_and_paper_apart(strokes):
    after = RandomLight(share=1)(strokes)
    contrast = (after[..., 10, 13] - after[..., 0, 0]).abs()
    assert contrast.min() > 0.1
    assert (after[..., 10, 13] < after[..., 0, 0]).any()


def test_an_augmentation_takes_its_steps_in_order_and_leaves_out_null():
    steps = {"double": lambda x: 2 * x, "nothing": None, "add": lambda x: x + 1}
    augmentation = Augmentation(digits=steps)
    assert augmentation.distort_digits(torch.tensor(3)) == 7
    assert augmentation.degrade(torch.tensor(3)) == 3
    assert Augmentation(pictures=steps).degrade(torch.tensor(3)) == 7


def test_affine_distorts_all_images(strokes):
    assert changed(strokes, RandomAffine(10, 2, 0.1)(strokes)).all()
