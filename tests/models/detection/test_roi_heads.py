import pytest
import torch
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads as TorchvisionRoIHeads
from torchvision.ops import MultiScaleRoIAlign

from mnist_vision.benchmarks import stock_detector
from mnist_vision.data.boxes import DigitBoxes
from mnist_vision.models.detection import roi_heads
from mnist_vision.models.detection.roi_align import SAMPLES_PER_BIN
from mnist_vision.models.detection.roi_heads import Candidates, RoIHeads
from tests.models.detection.test_box_ops import random_boxes, random_digits

HEIGHT, WIDTH = 36, 28
SCALE = 0.25
EVERYTHING = 10_000


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def networks(
    batch_size_per_image=EVERYTHING,
    positive_fraction=1.0,
    score_thresh=0.05,
    nms_thresh=0.5,
    detections_per_img=10,
):
    """Ours and torchvision's, with the same layers, whose weights are large enough to matter."""
    ours = RoIHeads(
        8,
        roi_size=5,
        hidden=16,
        batch_size_per_image=batch_size_per_image,
        positive_fraction=positive_fraction,
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        detections_per_img=detections_per_img,
    )
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.15)
    theirs = TorchvisionRoIHeads(
        MultiScaleRoIAlign(["0"], 5, SAMPLES_PER_BIN),
        ours.box_head,
        ours.box_predictor,
        roi_heads.POSITIVE_IOU,
        roi_heads.POSITIVE_IOU,
        batch_size_per_image,
        positive_fraction,
        None,
        score_thresh,
        nms_thresh,
        detections_per_img,
    )
    return ours, theirs


def example(num_images=8):
    """Features, digits, and proposals: some near digits, others anywhere, padding between."""
    features = torch.randn(num_images, 8, HEIGHT // 4, WIDTH // 4)
    digits = random_digits(num_images, 3)
    near = digits.boxes + torch.rand_like(digits.boxes) - 0.5
    boxes = torch.cat([near, random_boxes(num_images, 12)], dim=1)
    is_proposal = torch.cat([digits.is_digit, torch.rand(num_images, 12) < 0.7], dim=1)
    is_proposal[:, -1] = True
    return features, boxes * is_proposal[..., None], is_proposal, digits


def without_padding(boxes, is_proposal):
    return [each[kept] for each, kept in zip(boxes, is_proposal, strict=True)]


def losses_and_gradients(network, features, measure):
    network.zero_grad()
    features = features.clone().requires_grad_()
    losses = measure(features)
    sum(losses.values()).backward()
    gradients = {
        f"{part}.{name}": parameter.grad
        for part in ("box_head", "box_predictor")
        for name, parameter in getattr(network, part).named_parameters()
    }
    return losses, gradients | {"features": features.grad}


def assert_same_losses(ours, theirs, features, boxes, is_proposal, digits):
    def measure_ours(features):
        return ours.losses(features, SCALE, boxes, is_proposal, digits)

    def measure_theirs(features):
        sizes = [(HEIGHT, WIDTH)] * len(boxes)
        found = without_padding(boxes, is_proposal)
        return theirs.train()({"0": features}, found, sizes, stock_detector.as_targets(digits))[1]

    found = losses_and_gradients(ours, features, measure_ours)
    torch.testing.assert_close(
        found, losses_and_gradients(theirs, features, measure_theirs), atol=1e-5, rtol=1e-4
    )
    return found


def test_losses_and_gradients_of_all_proposals_are_torchvisions():
    losses, gradients = assert_same_losses(*networks(), *example())
    assert all(loss > 0 for loss in losses.values())
    assert all(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("positive_fraction", [0.25, 0.5])
def test_losses_and_gradients_of_a_sample_are_torchvisions(monkeypatch, positive_fraction):
    features, boxes, is_proposal, digits = example()
    ours, theirs = networks(8, positive_fraction)
    draw, masks = roi_heads.sample, []
    is_box = torch.cat([is_proposal, digits.is_digit], dim=1)

    def draw_and_tell(kind, *args):
        indices, is_drawn = draw(kind, *args)
        drawn = torch.zeros_like(kind, dtype=torch.bool).scatter(1, indices, is_drawn)
        positive, negative = drawn & (kind == 1), drawn & (kind == 0)
        masks.append((without_padding(positive, is_box), without_padding(negative, is_box)))
        return indices, is_drawn

    monkeypatch.setattr(roi_heads, "sample", draw_and_tell)
    theirs.fg_bg_sampler = lambda labels: masks[-1]
    assert_same_losses(ours, theirs, features, boxes, is_proposal, digits)


def test_images_without_digits_are_background():
    features, boxes, is_proposal, digits = example(3)
    nothing = DigitBoxes(torch.zeros_like(digits.boxes), torch.full_like(digits.labels, -1))
    losses, _ = assert_same_losses(*networks(), features, boxes, is_proposal, nothing)
    assert losses["loss_box_reg"] == 0
    assert losses["loss_classifier"] > 0


def test_nothing_to_look_at_costs_nothing():
    features, boxes, is_proposal, digits = example(3)
    ours, _ = networks()
    features.requires_grad_()
    nothing = DigitBoxes(torch.zeros_like(digits.boxes), torch.full_like(digits.labels, -1))
    losses = ours.losses(
        features, SCALE, torch.zeros_like(boxes), torch.zeros_like(is_proposal), nothing
    )
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0]
    assert features.grad.isfinite().all()


def test_a_digits_own_box_is_learnt_from_where_nothing_is_proposed():
    features, boxes, is_proposal, digits = example()
    ours, _ = networks()
    with_padding = ours.losses(
        features, SCALE, torch.zeros_like(boxes), torch.zeros_like(is_proposal), digits
    )
    without = ours.losses(features, SCALE, boxes[:, :0], is_proposal[:, :0], digits)
    torch.testing.assert_close(with_padding, without)
    assert without["loss_classifier"] > 0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score_thresh": 0.0, "detections_per_img": 1},
        {"score_thresh": 0.0, "nms_thresh": 0.0, "detections_per_img": 100},
        {"score_thresh": 0.0, "nms_thresh": 1.0, "detections_per_img": EVERYTHING},
        {"score_thresh": 0.3, "nms_thresh": 0.3},
        {"score_thresh": 0.95},
    ],
    ids=str,
)
def test_detections_are_torchvisions(settings):
    ours, theirs = networks(**settings)
    features, boxes, is_proposal, _ = example()
    candidates = ours.candidates(features, SCALE, boxes, is_proposal, (HEIGHT, WIDTH))
    found = ours.select(candidates)
    sizes = [(HEIGHT, WIDTH)] * len(boxes)
    expected, _ = theirs.eval()({"0": features}, without_padding(boxes, is_proposal), sizes)
    for image, each in enumerate(expected):
        num = len(each["scores"])
        assert found.labels[image, :num].tolist() == (each["labels"] - 1).tolist()
        torch.testing.assert_close(found.scores[image, :num], each["scores"])
        torch.testing.assert_close(found.boxes[image, :num], each["boxes"], atol=1e-4, rtol=1e-5)
        assert (found.labels[image, num:] == -1).all()
        assert not found.scores[image, num:].any()
        assert not found.boxes[image, num:].any()


def test_candidates_are_inside_the_image_and_padding_is_none():
    ours, _ = networks(score_thresh=0.0)
    features, boxes, is_proposal, _ = example()
    found = ours.candidates(features, SCALE, boxes, is_proposal, (HEIGHT, WIDTH))
    assert found.boxes.shape == (8, 15, 10, 4)
    assert found.scores.shape == (8, 15, 10)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).all()
    assert not found.scores[~is_proposal].any()


def test_candidates_keep_their_precision_in_mixed_precision():
    ours, _ = networks()
    features, boxes, is_proposal, _ = example()
    with torch.autocast("cpu", torch.bfloat16):
        found = ours.candidates(features, SCALE, boxes, is_proposal, (HEIGHT, WIDTH))
    assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_the_first_detection_is_the_digit_of_the_highest_score_even_among_equals():
    # Sure predictions round to 1.0 exactly, so that equal scores are nothing unusual.
    ours, _ = networks()
    scores = torch.zeros(1, 16, 10)
    scores[0, 3, 7] = scores[0, 9, 3] = scores[0, 1, 9] = 1
    boxes = random_boxes(1, 16, 10)
    found = ours.select(Candidates(boxes, scores))
    assert found.labels[0, 0] == scores.amax(dim=1).argmax(dim=1)
    assert sorted(found.labels[0, :3].tolist()) == [3, 7, 9]
