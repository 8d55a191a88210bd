import pytest
import torch

from mnist_vision.models.pretrained import feature_cache
from mnist_vision.models.pretrained.feature_cache import FeatureCache


class Counter:
    """Doubles images, and counts them."""

    def __init__(self):
        self.num_images = 0

    def __call__(self, images):
        self.num_images += len(images)
        return images.flatten(1) * 2


def test_an_image_is_computed_once_in_whatever_batch_it_comes():
    cache, compute, images = FeatureCache(), Counter(), torch.rand(6, 1, 4, 4)
    for order in ([0, 1, 2], [2, 1, 3], [5, 4, 0], [0, 1, 2, 3, 4, 5]):
        expected = images[order].flatten(1) * 2
        assert torch.equal(cache.features(images[order], compute), expected)
    assert compute.num_images == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_type_of_pixels_will_do(dtype):
    cache, compute, images = FeatureCache(), Counter(), torch.rand(4, 1, 4, 4).to(dtype)
    for _ in range(2):
        assert torch.equal(cache.features(images, compute), images.flatten(1) * 2)
    assert compute.num_images == 4


def test_memory_has_a_limit_beyond_which_features_are_computed_again(monkeypatch):
    monkeypatch.setattr(feature_cache, "MAX_BYTES", 3 * 16 * 4)
    cache, compute, images = FeatureCache(), Counter(), torch.rand(5, 1, 4, 4)
    for _ in range(3):
        assert torch.equal(cache.features(images, compute), images.flatten(1) * 2)
    assert compute.num_images == 5 + 2 * 2


def test_an_image_that_outlives_its_batch_takes_no_more_than_its_own_memory():
    cache = FeatureCache()
    cache.features(torch.rand(32, 1, 4, 4), Counter())
    sizes = {features.untyped_storage().nbytes() for features in cache._features.values()}
    assert sizes == {16 * 4}


def test_features_computed_in_inference_mode_can_be_trained_on():
    cache, images = FeatureCache(), torch.rand(2, 1, 4, 4)
    with torch.inference_mode():
        cache.features(images, Counter())
    weight = torch.ones(16, requires_grad=True)
    (cache.features(images, Counter()) @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, images.flatten(1).sum(0) * 2)
