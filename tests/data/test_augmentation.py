import math

import pytest
import torch
from torchvision.transforms.v2.functional import affine

from mnist_vision.common.errors import FieldError
from mnist_vision.data.augmentation import RandomAffine


def spot(row, column):
    """One image that is black but for a soft spot."""
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    return torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 4)[None, None]


def centre(images):
    """Rows and columns of the centres of mass, `[B, 2]`."""
    mass = images.sum(dim=(1, 2, 3))
    positions = torch.arange(28.0)
    rows = (images.sum(dim=(1, 3)) * positions).sum(dim=1) / mass
    columns = (images.sum(dim=(1, 2)) * positions).sum(dim=1) / mass
    return torch.stack([rows, columns], dim=1)


def test_nothing_asked_nothing_done():
    images = torch.rand(3, 1, 28, 28)
    assert RandomAffine(0, 0, 0)(images) is images


def test_each_image_gets_its_own_shift_within_bounds():
    images = spot(13.5, 13.5).repeat(500, 1, 1, 1)
    moved = centre(RandomAffine(0, 3, 0)(images)) - 13.5
    assert moved.abs().max() <= 3.01
    assert moved.abs().max() > 2.7
    assert moved.mean(dim=0).abs().max() < 0.3
    assert moved.unique(dim=0).shape[0] > 490


def test_rotation_is_about_the_centre_and_within_bounds():
    images = spot(13.5, 21.5).repeat(500, 1, 1, 1)
    offset = centre(RandomAffine(30, 0, 0)(images)) - 13.5
    torch.testing.assert_close(offset.norm(dim=1), torch.full((500,), 8.0), atol=0.1, rtol=0)
    angles = torch.atan2(offset[:, 0], offset[:, 1]).rad2deg()
    assert angles.abs().max() <= 30.5
    assert angles.min() < -25
    assert angles.max() > 25


def test_scale_is_within_bounds_both_ways():
    images = spot(13.5, 21.5).repeat(500, 1, 1, 1)
    radius = (centre(RandomAffine(0, 0, 0.25)(images)) - 13.5).norm(dim=1)
    assert radius.min() >= 8 / 1.25 - 0.1
    assert radius.max() <= 8 * 1.25 + 0.1
    assert radius.min() < 6.7
    assert radius.max() > 9.6


def test_one_image_equals_torchvisions_transform_of_the_same_amounts(monkeypatch):
    image = torch.rand(1, 1, 28, 28)
    # The draws, in [0, 1): angle, log scale, shift right, shift down.
    draws = torch.tensor([[0.75], [0.9], [0.25], [0.6]])
    monkeypatch.setattr(torch, "rand", lambda *size, **options: draws)
    ours = RandomAffine(degrees=40, shift=5, scale=0.3)(image)
    theirs = affine(
        image,
        angle=0.5 * 40,
        translate=[-0.5 * 5, 0.2 * 5],
        scale=math.exp(0.8 * math.log1p(0.3)),
        shear=[0.0, 0.0],
        interpolation="bilinear",
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_the_same_seed_gives_the_same_images():
    images = torch.rand(4, 1, 28, 28)
    augment = RandomAffine(10, 2, 0.1)
    first, second = (augment(images) for _ in range(2) if torch.manual_seed(3))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(images))


@pytest.mark.parametrize("arguments", [{"degrees": 181}, {"shift": -1}, {"scale": 2}])
def test_amounts_outside_their_range_are_refused(arguments):
    with pytest.raises(FieldError, match=next(iter(arguments))):
        RandomAffine(**{"degrees": 0, "shift": 0, "scale": 0} | arguments)
