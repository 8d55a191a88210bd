"""All images get the same brightness and contrast."""

import pytest
import torch

from mnist_vision.data.constants import PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.cnn import CNN
from mnist_vision.models.standardization import standardize


def test_each_image_gets_the_mean_and_the_deviation_of_mnist():
    images = torch.rand(4, 1, 28, 28) * torch.tensor([1, 0.5, 0.2, 0.1])[:, None, None, None]
    after = standardize(images)
    torch.testing.assert_close(after.mean(dim=(1, 2, 3)), torch.full([4], PIXEL_MEAN))
    deviations = after.std(dim=(1, 2, 3), correction=0)
    torch.testing.assert_close(deviations, torch.full([4], PIXEL_STD), atol=0.02, rtol=0)


@pytest.mark.parametrize("colour", [0, 0.5, 1])
def test_an_image_of_one_colour_stays_finite_also_in_its_gradient(colour):
    images = torch.full([1, 1, 28, 28], float(colour), requires_grad=True)
    after = standardize(images)
    after[0, 0, 3, 3].backward()
    assert after.isfinite().all()
    assert images.grad.isfinite().all()


def test_brightness_and_contrast_do_not_change_what_a_network_sees():
    images = torch.rand(8, 1, 28, 28)
    dimmed = 0.5 * images + 0.4
    standardized, plain = CNN(widths=[4]).eval(), CNN(widths=[4], standardize_images=False).eval()
    torch.testing.assert_close(standardized(dimmed), standardized(images), atol=2e-3, rtol=0)
    assert (plain(dimmed) - plain(images)).abs().max() > 0.01
