import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image

from mnist_vision.models.detection.box_coding import SMOOTH_L1_BETA, box_loss, decode, encode
from tests.models.detection.test_box_ops import random_boxes

IMAGE_SIZE = (20, 28)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=[(1.0, 1.0), (10.0, 5.0)], ids=str)
def weights(request):
    return request.param


def coder(weights):
    shift, stretch = weights
    return BoxCoder((shift, shift, stretch, stretch))


def test_differences_are_torchvisions(weights):
    boxes, references = random_boxes(3, 40), random_boxes(3, 40)
    expected = coder(weights).encode_single(boxes.flatten(0, 1), references.flatten(0, 1))
    torch.testing.assert_close(encode(boxes, references, weights).flatten(0, 1), expected)


@pytest.mark.parametrize("spread", [0.1, 1, 100])
def test_boxes_are_torchvisions_inside_the_image(weights, spread):
    codes, references = torch.randn(3, 40, 11, 4) * spread, random_boxes(3, 40)
    found = decode(codes, references[:, :, None], weights, IMAGE_SIZE)
    expected = coder(weights).decode_single(
        codes.flatten(0, 1).flatten(1), references.flatten(0, 1)
    )
    expected = clip_boxes_to_image(expected.view(codes.shape), IMAGE_SIZE)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_decoding_undoes_encoding(weights):
    boxes, references = random_boxes(40, size=20), random_boxes(40)
    codes = encode(boxes, references, weights)
    torch.testing.assert_close(
        decode(codes, references, weights, (20, 20)), boxes, atol=1e-4, rtol=1e-5
    )


def test_the_loss_is_that_of_the_positives(weights):
    codes = torch.randn(3, 40, 4, requires_grad=True)
    boxes, references = random_boxes(3, 40), random_boxes(3, 40)
    is_positive = torch.rand(3, 40) < 0.3
    boxes[~is_positive] = references[~is_positive] = 0  # padding, which has no code
    found = box_loss(codes, boxes, references, is_positive, weights)
    wanted = coder(weights).encode_single(boxes[is_positive], references[is_positive])
    expected = F.smooth_l1_loss(codes[is_positive], wanted, beta=SMOOTH_L1_BETA, reduction="sum")
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, codes)
    torch.testing.assert_close(gradient, *torch.autograd.grad(expected, codes))


def test_no_positives_cost_nothing(weights):
    codes = torch.randn(2, 5, 4, requires_grad=True)
    nothing = torch.zeros(2, 5, 4)
    loss = box_loss(codes, nothing, nothing, torch.zeros(2, 5, dtype=torch.bool), weights)
    loss.backward()
    assert loss == 0
    assert not codes.grad.any()
