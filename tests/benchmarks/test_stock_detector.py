"""Our detector gives the results of torchvision's modules with the same weights."""

import pytest
import torch

from mnist_vision.benchmarks import stock_detector
from mnist_vision.data.boxes import DigitBoxes, label_ink
from mnist_vision.models.faster_rcnn import FasterRCNN
from tests.conftest import synthetic_digits

EVERYTHING = 10_000


def single_digits(num_images=8):
    """Return images of 28 pixels a side and their digits."""
    images, targets = synthetic_digits(num_images)
    return images / 255, label_ink(images / 255, targets)


def scenes(num_images=6, size=64, most=4):
    """Return canvases with 0 to `most` digits of 14 pixels a side that do not touch."""
    generator = torch.Generator().manual_seed(0)
    patches, targets = synthetic_digits(num_images * most)
    patches = patches[..., ::2, ::2] / 255
    images = torch.zeros(num_images, 1, size, size)
    boxes = torch.zeros(num_images, most, 4)
    labels = torch.full((num_images, most), -1)
    cells = size // 16
    for image in range(num_images):
        places = torch.randperm(cells**2, generator=generator)[: image % (most + 1)]
        for index, place in enumerate(places.tolist()):
            y, x = place // cells * 16, place % cells * 16
            patch = image * most + index
            images[image, :, y : y + 14, x : x + 14] = patches[patch]
            boxes[image, index] = torch.tensor([x, y, x + 14, y + 14])
            labels[image, index] = targets[patch]
    return images, DigitBoxes(boxes, labels)


def train(model, images, targets, num_steps):
    """Train a model until its predictions differ from each other."""
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.01)
    for _ in range(num_steps):
        optimizer.zero_grad()
        sum(model.losses(images, targets).values()).backward()
        optimizer.step()
    return model


@pytest.fixture(params=[single_digits, scenes], ids=lambda make: make.__name__)
def example(request):
    """Return images, their digits, our network and torchvision's."""
    torch.manual_seed(0)
    images, digits = request.param()
    model = FasterRCNN(
        widths=[4, 8],
        hidden=16,
        anchor_sizes=[14, 24],
        rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING,
        box_positive_fraction=1.0,
        standardize_images=False,
    )
    train(model, images, digits, 20)
    size = images.shape[-1]
    return (
        images,
        digits,
        model,
        stock_detector.assemble(model.backbone, model.rpn, model.roi_heads, size),
    )


def gradients(model, losses):
    model.zero_grad()
    sum(losses.values()).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_losses_and_gradients_are_torchvisions(example):
    images, digits, model, network = example
    ours = model.train().losses(images, digits)
    theirs = stock_detector.losses(network, images, digits)
    assert len(ours) == 4
    assert all(loss > 0 for loss in ours.values())
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    our_gradients = gradients(model, ours)
    assert all(gradient.any() for gradient in our_gradients.values())
    torch.testing.assert_close(our_gradients, gradients(model, theirs), atol=1e-4, rtol=1e-3)


def test_detections_are_torchvisions(example):
    images, _, model, network = example
    with torch.no_grad():
        ours = model.eval().detect(images)
    theirs = stock_detector.detect(network, images)
    assert sum(len(found["labels"]) for found in ours) > len(images)
    for found, expected in zip(ours, theirs, strict=True):
        assert found["labels"].tolist() == expected["labels"].tolist()
        torch.testing.assert_close(found["boxes"], expected["boxes"], atol=1e-3, rtol=0)
        torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-4, rtol=0)


def test_both_share_their_weights(example):
    _, _, model, network = example
    parts = (model.backbone, model.rpn, model.roi_heads)
    assert {id(p) for p in network.parameters()} == {id(p) for m in parts for p in m.parameters()}


def test_targets_count_from_1_and_have_no_padding():
    _, digits = scenes()
    targets = stock_detector.as_targets(digits)
    assert [len(each["labels"]) for each in targets] == digits.is_digit.sum(dim=1).tolist()
    assert targets[0]["boxes"].shape == (0, 4)
    assert targets[4]["labels"].tolist() == (digits.labels[4] + 1).tolist()
