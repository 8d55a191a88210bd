import pytest
import torch
from torchvision.ops import roi_align as torchvision_roi_align

from mnist_vision.models.detection.roi_align import SAMPLES_PER_BIN, roi_align

HEIGHT, WIDTH = 7, 9
SCALE = 0.25
SPECIAL_BOXES = [
    [0.0, 0, 0, 0],  # degenerate, as padding is
    [13, 9, 13, 9],
    [12, 3, 13, 20],  # one pixel wide
    [3, 12, 20, 13],
    [0, 0, 36, 28],  # all of the map
    [-20, -20, 60, 60],  # reaching outside
    [-4, 20, 5, 40],
    [100, 100, 120, 130],  # outside
    [-50, -50, -30, -30],
    [-5, -5, -1, -1],  # samples exactly a position outside the map
    [33, 25, 37, 29],
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def example(dtype):
    """Features `[3, 5, H, W]`, and boxes that are inside, outside, large, small and special."""
    corners = torch.rand(3, 40, 2) * torch.tensor([48.0, 40]) - 8
    random = torch.cat([corners, corners + torch.rand(3, 40, 2) * 30], dim=-1)
    special = torch.tensor(SPECIAL_BOXES).expand(3, -1, -1)
    boxes = torch.cat([random, special], dim=1).to(dtype)
    return torch.randn(3, 5, HEIGHT, WIDTH, dtype=dtype), boxes


def torchvisions(features, boxes, size):
    rois = torchvision_roi_align(features, list(boxes), size, SCALE, SAMPLES_PER_BIN, aligned=False)
    return rois.unflatten(0, boxes.shape[:2]).permute(0, 1, 3, 4, 2)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)], ids=str
)
@pytest.mark.parametrize("size", [1, 4, 5, 7])
def test_values_and_gradients_are_torchvisions(dtype, tolerance, size):
    features, boxes = example(dtype)
    features.requires_grad_()
    ours = roi_align(features, boxes, size, SCALE)
    theirs = torchvisions(features, boxes, size)
    assert ours.shape == (3, 51, size, size, 5)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)
    weights = torch.randn_like(ours)
    (our_gradient,) = torch.autograd.grad(ours, features, weights)
    (their_gradient,) = torch.autograd.grad(theirs, features, weights)
    torch.testing.assert_close(our_gradient, their_gradient, atol=20 * tolerance, rtol=tolerance)


def test_the_layout_in_memory_changes_nothing():
    features, boxes = example(torch.float32)
    channels_last = features.to(memory_format=torch.channels_last)
    assert not channels_last.is_contiguous()
    torch.testing.assert_close(
        roi_align(channels_last, boxes, 5, SCALE), torchvisions(features, boxes, 5)
    )


def test_the_gradient_is_that_of_the_values():
    features = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[[0.0, 0, 9, 8], [-3, 2, 30, 4]], [[5, 5, 5, 5], [1, 2, 8, 9]]])
    assert torch.autograd.gradcheck(lambda x: roi_align(x, boxes.double(), 3, SCALE), features)


def test_an_image_without_boxes_gives_none():
    rois = roi_align(torch.randn(2, 5, 7, 9), torch.zeros(2, 0, 4), 5, SCALE)
    assert rois.shape == (2, 0, 5, 5, 5)
