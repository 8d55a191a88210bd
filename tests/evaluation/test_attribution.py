"""Attributions explain predictions, and leave the network as it is."""

import pytest
import torch
from torch import nn

from mnist_vision.common.errors import UserError
from mnist_vision.data.constants import MISSED
from mnist_vision.evaluation.attribution import (
    NUM_MISTAKES,
    attribute,
    attribute_mistakes,
    grad_cam,
)
from mnist_vision.evaluation.measure import TestResult
from mnist_vision.models.alexnet import AlexNet
from mnist_vision.models.classifier import DigitClassifier, predict
from mnist_vision.models.cnn import CNN
from mnist_vision.models.faster_rcnn import FasterRCNN
from mnist_vision.models.vgg16 import VGG16
from tests.conftest import synthetic_digits

pytestmark = pytest.mark.filterwarnings("error")

MODELS = {
    "cnn": lambda: CNN(widths=(4, 8)),
    "faster_rcnn": lambda: FasterRCNN(widths=(4, 8, 8), hidden=16, box_score_thresh=0.0),
    # Blocks that train use convolutions of their own on small maps.
    "vgg16": lambda: VGG16(image_size=32, num_trainable_blocks=2, weights=None),
    "alexnet": lambda: AlexNet(image_size=63, num_trainable_blocks=0, weights=None),
}


@pytest.fixture(params=MODELS)
def model(request):
    """A network with random weights, in the mode of training."""
    torch.manual_seed(0)
    return MODELS[request.param]().train()


@pytest.fixture
def images():
    pixels, _ = synthetic_digits(3)
    return pixels / 255


class Corner(DigitClassifier):
    """Adds up the ink of a corner for digit 3, and that of the opposite one for digit 5."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.conv.weight, 1 / 9)

    def forward(self, images):
        maps = self.conv(images)
        scores = torch.zeros(len(images), 10)
        scores[:, 3] = maps[:, 0, :10, :10].sum(dim=(1, 2))
        scores[:, 5] = maps[:, 0, 18:, 18:].sum(dim=(1, 2))
        return scores


class Dense(DigitClassifier):
    def forward(self, images):
        return images.flatten(1)[:, :10]


def test_grad_cam_alone_is_that_of_the_attribution(model, images):
    digits = torch.tensor([3, MISSED, 8])
    assert torch.equal(grad_cam(model, images, digits), attribute(model, images, digits).grad_cam)


def test_both_maps_lie_where_the_evidence_is():
    images = torch.zeros(2, 1, 28, 28)
    images[0, :, :8, :8] = images[1, :, 20:, 20:] = 1
    images[:, :, 2:6, 20:26] = 0.5  # ink that no score reads
    maps = attribute(Corner(), images, torch.tensor([3, 5]))
    for each in maps:
        assert each.shape == (2, 28, 28)
        assert each[0, :10, :10].amax() == each[0].abs().amax() > 0
        assert each[1, 18:, 18:].amax() == each[1].abs().amax() > 0
    assert maps.grad_cam.amax(dim=(1, 2)).tolist() == [1, 1]
    ours = maps.integrated_gradients[0, :11, :11].sum()
    assert ours == pytest.approx(float(maps.integrated_gradients[0].abs().sum()))


def test_a_digit_that_speaks_against_itself_has_negative_pixels():
    model = Corner()
    nn.init.constant_(model.conv.weight, -1)
    maps = attribute(model, torch.ones(1, 1, 28, 28), torch.tensor([3]))
    assert maps.integrated_gradients.amin() < 0
    assert maps.integrated_gradients.amax() <= 0


def test_integrated_gradients_add_up_to_the_difference_from_black(model, images):
    model.eval()
    digits = torch.tensor([3, 0, 7])
    maps = attribute(model, images, digits)
    regions = model.regions(images)
    with torch.no_grad():
        scores, black = (model.evidence(each, *regions) for each in (images, 0 * images))
    difference = (scores - black).gather(1, digits[:, None])[:, 0]
    added = maps.integrated_gradients.sum(dim=(1, 2))
    # 32 steps of a function with kinks.
    assert (added - difference).abs().max() < 0.1 * difference.abs().max()


def test_the_evidence_for_a_prediction_is_its_score(model, images):
    model.eval()
    with torch.no_grad():
        scores = model(images)
        evidence = model.evidence(images, *model.regions(images))
    digits = predict(scores)[:, None]
    assert torch.allclose(scores.gather(1, digits), evidence.gather(1, digits), atol=1e-5)
    assert evidence.isfinite().all()


def test_grad_cam_weighs_the_last_convolution_that_sees_the_image(model):
    named = {id(each): name for name, each in model.named_modules()}
    name = named[id(model.attribution_layer)]
    expected = {
        "cnn": "stages.1.0",
        "faster_rcnn": "backbone.2.0",
        "vgg16": "features.28",
        "alexnet": "features.10",
    }
    assert name == expected[model.architecture]


def state_of(model):
    return (
        {name: each.clone() for name, each in model.state_dict().items()},
        {name: each.training for name, each in model.named_modules()},
        {name: each.requires_grad for name, each in model.named_parameters()},
    )


def test_the_network_stays_as_it_is(model, images):
    before, random_state = state_of(model), torch.random.get_rng_state()
    given = images.clone()
    attribute(model, images, torch.tensor([1, 2, 3]))
    after = state_of(model)
    assert after[1:] == before[1:]
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(images, given)
    assert not images.requires_grad


@pytest.mark.parametrize("model", ["cnn", "faster_rcnn"], indirect=True)
def test_maps_are_the_same_each_time_and_in_any_batch(model):
    images, digits = synthetic_digits(35)
    images = images / 255
    first, again = (attribute(model, images, digits) for _ in range(2))
    alone = attribute(model, images[33:34], digits[33:34])
    for one, two, three in zip(first, again, alone, strict=True):
        assert torch.equal(one, two)
        assert torch.allclose(one[33:34], three, atol=1e-4)


def test_a_missed_digit_has_maps_of_zeros(images):
    maps = attribute(CNN(widths=(4,)), images, torch.tensor([1, MISSED, 2]))
    for each in maps:
        assert not each[1].any()
        assert each[0].any()
        assert each.isfinite().all()


def test_images_of_inference_mode_can_be_explained(images):
    with torch.inference_mode():
        images = images + 0
    assert attribute(CNN(widths=(4,)), images, torch.tensor([1, 2, 3])).grad_cam.any()


def test_a_network_without_convolutions_is_refused(images):
    with pytest.raises(UserError, match=r"test_attribution: has no convolution"):
        attribute(Dense(), images, torch.tensor([1, 2, 3]))


class SingleDigits:
    gives_scenes = False


class Scenes:
    gives_scenes = True


@pytest.fixture
def outcome():
    """A test of 40 digits: all are wrong but the first ten; three of these are missed."""
    images, targets = synthetic_digits(40)
    predictions = targets.clone()
    predictions[10:] = (targets[10:] + 1) % 10
    predictions[[11, 20, 30]] = MISSED
    scores = torch.zeros(40, 10)
    scores[torch.arange(40), predictions.clamp(min=0)] = 1 + (torch.arange(40) * 7 % 40) / 10
    scores[predictions == MISSED] = -torch.inf
    return TestResult(targets, predictions, scores, images[10:] / 255, {}, 1.0)


def test_the_most_confident_mistakes_are_explained(outcome):
    found = attribute_mistakes(CNN(widths=(4,)), SingleDigits(), outcome)
    wrong = [i for i in range(10, 40) if i not in (11, 20, 30)]
    assert found.indices.tolist() == sorted(wrong, key=lambda i: -(i * 7 % 40))[:NUM_MISTAKES]
    images, targets = synthetic_digits(40)
    assert (found.pictures == images[found.indices, 0].numpy()).all()
    assert (found.targets == targets[found.indices].numpy()).all()
    assert (found.predictions == outcome.predictions[found.indices].numpy()).all()


def test_without_mistakes_there_is_nothing_to_explain(outcome):
    none = torch.zeros(0, 1, 28, 28)
    right = TestResult(outcome.targets, outcome.targets, outcome.scores, none, {}, 1.0)
    assert attribute_mistakes(CNN(widths=(4,)), SingleDigits(), right) is None
    missed = torch.full((40,), MISSED)
    images = synthetic_digits(40)[0] / 255
    lost = TestResult(outcome.targets, missed, outcome.scores, images, {}, 1.0)
    assert attribute_mistakes(CNN(widths=(4,)), SingleDigits(), lost) is None


def test_scenes_and_networks_without_convolutions_are_left_out(outcome):
    assert attribute_mistakes(FasterRCNN(), Scenes(), outcome) is None
    assert attribute_mistakes(Dense(), SingleDigits(), outcome) is None
