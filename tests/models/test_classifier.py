"""The contract, tested over all architectures: each with the smallest sensible arguments."""

import pytest
import torch
from torch.nn import functional as F

from mnist_vision.models.alexnet import AlexNet
from mnist_vision.models.cnn import CNN
from mnist_vision.models.faster_rcnn import FasterRCNN
from mnist_vision.models.vgg16 import VGG16
from mnist_vision.training.schedules import constant
from tests.conftest import synthetic_digits

MODELS = {
    "cnn": lambda: CNN(widths=[4, 8], hidden=16),
    "faster_rcnn": lambda: FasterRCNN(widths=[8, 16], hidden=32),
    "vgg16": lambda: VGG16(32, num_trainable_blocks=0, weights=None, dropout=0.0),
    "alexnet": lambda: AlexNet(64, num_trainable_blocks=0, weights=None, dropout=0.0),
}
RATES = {"vgg16": 3e-4, "alexnet": 1e-4}  # their wide heads leap at more


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    torch.manual_seed(0)
    return MODELS[name]()


@pytest.fixture
def batch():
    images, targets = synthetic_digits(20)
    return images / 255, targets


def test_architecture_is_named(model, name):
    assert model.architecture == name


def test_scores(model, batch):
    scores = model.eval()(batch[0])
    assert scores.shape == (20, 10)
    assert scores.dtype == torch.float32


def test_losses_are_named_scalars_that_can_be_trained_on(model, batch):
    losses = model.train().losses(*batch)
    assert losses
    for term_name, term in losses.items():
        assert isinstance(term_name, str)
        assert term.shape == ()
    sum(losses.values()).backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_a_few_steps_learn(model, name, batch):
    optimizer = torch.optim.Adam(model.parameter_groups(), lr=RATES.get(name, 0.01))

    def accuracy():
        with torch.no_grad():
            return (model.eval()(batch[0]).argmax(dim=1) == batch[1]).float().mean()

    for step in range(150):
        if step % 10 == 0 and accuracy() > 0.9:
            break
        loss = sum(model.train().losses(*batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert step > 0
    assert accuracy() > 0.9


def test_probabilities_sum_to_one_and_keep_the_prediction(model, batch):
    scores = model.eval()(batch[0])
    probabilities = model.probabilities(scores)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(20))
    assert torch.equal(probabilities.argmax(dim=1), scores.argmax(dim=1))


def test_a_checkpoints_plain_values_rebuild_the_network(model):
    again = type(model)(**model.hparams)
    again.load_state_dict(model.state_dict())


def test_frozen_weights_are_not_given_to_the_optimizer(model):
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)
    trained = [p for group in model.parameter_groups() for p in group["params"]]
    assert trained
    assert all(p is not frozen for p in trained)


def test_the_recipe_makes_optimizer_and_schedule(monkeypatch):
    model = CNN()
    model.set_recipe(lambda params: torch.optim.SGD(params, lr=0.5), constant)
    monkeypatch.setattr(CNN, "trainer", type("Trainer", (), {"estimated_stepping_batches": 7}))
    made = model.configure_optimizers()
    assert made["optimizer"].param_groups[0]["lr"] == 0.5
    assert made["lr_scheduler"]["interval"] == "step"


def test_the_base_trains_on_the_cross_entropy_of_the_scores(batch):
    model = CNN(dropout=0.0).eval()
    losses = model.losses(*batch)
    torch.testing.assert_close(
        losses, {"loss_classifier": F.cross_entropy(model(batch[0]), batch[1])}
    )
