import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork as TorchvisionRPN

from mnist_vision.benchmarks import stock_detector
from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.models.detection import rpn
from mnist_vision.models.detection.rpn import RegionProposalNetwork
from tests.models.detection.test_box_ops import random_digits

HEIGHT, WIDTH = 36, 28
NUM_ANCHORS = 9 * 7 * 6
EVERYTHING = 10_000


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def networks(pre_nms_top_n=60, post_nms_top_n=20, batch_size_per_image=EVERYTHING):
    """Ours and torchvision's, with the same layers, whose weights are large enough to matter."""
    ours = RegionProposalNetwork(
        8,
        [8, 14],
        [0.5, 1, 2],
        pre_nms_top_n=pre_nms_top_n,
        post_nms_top_n=post_nms_top_n,
        batch_size_per_image=batch_size_per_image,
    )
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.15)
    theirs = TorchvisionRPN(
        ours.anchor_generator,
        ours.head,
        rpn.HIGH_IOU,
        rpn.LOW_IOU,
        batch_size_per_image,
        rpn.POSITIVE_FRACTION,
        {"training": pre_nms_top_n, "testing": pre_nms_top_n},
        {"training": post_nms_top_n, "testing": post_nms_top_n},
        rpn.NMS_IOU,
    )
    return ours, theirs


def example(num_images=8):
    images = torch.rand(num_images, 1, HEIGHT, WIDTH)
    features = torch.randn(num_images, 8, HEIGHT // 4, WIDTH // 4)
    return images, features, random_digits(num_images, 3)


def image_list(images):
    return ImageList(images, [(HEIGHT, WIDTH)] * len(images))


def assert_same_proposals(boxes, is_proposal, expected):
    assert is_proposal.sum(dim=1).tolist() == [len(each) for each in expected]
    for image, each in enumerate(expected):
        # What is proposed comes first, in order; padding is zeros.
        torch.testing.assert_close(boxes[image, : len(each)], each)
        assert not boxes[image, len(each) :].any()


@pytest.mark.parametrize(
    ("pre_nms_top_n", "post_nms_top_n"),
    [(1, 1), (5, 10), (60, 10), (60, 60), (EVERYTHING, 16), (EVERYTHING, EVERYTHING)],
)
def test_proposals_are_torchvisions(pre_nms_top_n, post_nms_top_n):
    ours, theirs = networks(pre_nms_top_n, post_nms_top_n)
    images, features, _ = example()
    expected, _ = theirs.eval()(image_list(images), {"0": features})
    boxes, is_proposal = ours.propose((HEIGHT, WIDTH), *ours(images, features))
    assert boxes.shape[1] == min(pre_nms_top_n, post_nms_top_n, NUM_ANCHORS)
    assert_same_proposals(boxes, is_proposal, expected)


@pytest.mark.parametrize("spread", [0.1, 1, 5, 30])
def test_wild_predictions_are_filtered_as_by_torchvision(spread):
    ours, theirs = networks(100, 40)
    images, features, _ = example()
    anchors, logits, codes = ours(images, features)
    logits, codes = torch.randn_like(logits), torch.randn_like(codes) * spread
    codes[::2, ::3] = -40  # no area, or outside
    decoded = theirs.box_coder.decode(codes, [anchors] * len(images)).view(len(images), -1, 4)
    expected, _ = theirs.eval().filter_proposals(
        decoded, logits, [(HEIGHT, WIDTH)] * len(images), [NUM_ANCHORS]
    )
    assert_same_proposals(*ours.propose((HEIGHT, WIDTH), anchors, logits, codes), expected)


def test_proposals_have_no_gradient():
    ours, _ = networks()
    images, features, _ = example()
    boxes, _ = ours.propose((HEIGHT, WIDTH), *ours(images, features))
    assert not boxes.requires_grad


def test_proposals_keep_their_precision_in_mixed_precision():
    # bfloat16 has steps of half a pixel behind pixel 64, and of a whole one behind 128.
    ours, _ = networks()
    images, features, _ = example()
    with torch.autocast("cpu", torch.bfloat16):
        boxes, _ = ours.propose((HEIGHT, WIDTH), *ours(images, features))
    assert boxes.dtype == torch.float32


def losses_and_gradients(network, features, measure):
    network.zero_grad()
    features = features.clone().requires_grad_()
    losses = measure(features)
    sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in network.head.named_parameters()}
    return losses, gradients | {"features": features.grad}


def assert_same_losses(ours, theirs, digits, images, features):
    def measure_ours(features):
        return ours.losses(*ours(images, features), digits)

    def measure_theirs(features):
        return theirs.train()(
            image_list(images), {"0": features}, stock_detector.as_targets(digits)
        )[1]

    found = losses_and_gradients(ours, features, measure_ours)
    torch.testing.assert_close(
        found, losses_and_gradients(theirs, features, measure_theirs), atol=1e-5, rtol=1e-4
    )
    return found


def test_losses_and_gradients_of_all_anchors_are_torchvisions():
    images, features, digits = example()
    losses, gradients = assert_same_losses(*networks(), digits, images, features)
    assert all(loss > 0 for loss in losses.values())
    assert all(gradient.any() for gradient in gradients.values())


def test_losses_and_gradients_of_a_sample_are_torchvisions(monkeypatch):
    images, features, digits = example()
    ours, theirs = networks(batch_size_per_image=10)
    draw, masks = rpn.sample, []

    def draw_and_tell(kind, *args):
        indices, is_drawn = draw(kind, *args)
        drawn = torch.zeros_like(kind, dtype=torch.bool).scatter(1, indices, is_drawn)
        masks.append((list(drawn & (kind == 1)), list(drawn & (kind == 0))))
        return indices, is_drawn

    monkeypatch.setattr(rpn, "sample", draw_and_tell)
    theirs.fg_bg_sampler = lambda labels: masks[-1]
    assert_same_losses(ours, theirs, digits, images, features)


def test_images_without_digits_are_background():
    images, features, _ = example(3)
    nothing = DigitBoxes(torch.zeros(3, 2, 4), torch.full((3, 2), -1))
    losses, _ = assert_same_losses(*networks(), nothing, images, features)
    assert losses["loss_rpn_box_reg"] == 0
    assert losses["loss_objectness"] > 0
