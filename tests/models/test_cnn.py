import pytest
import torch
from torch import nn

from mnist_vision.common.errors import FieldError
from mnist_vision.models.cnn import CNN


def test_convolutions_are_those_of_the_lab():
    convolutions = [m for m in CNN().modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 3
    for convolution in convolutions:
        assert convolution.kernel_size == (3, 3)
        assert convolution.padding == (1, 1)
        assert convolution.stride == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "num_parameters"),
    [
        # By hand: convolutions 9ab (+ b without batch norm, + 2b with), layers ab + b.
        ({"widths": [4], "hidden": 0, "batch_norm": False}, 36 + 4 + 784 * 10 + 10),
        ({"widths": [4], "hidden": 0, "batch_norm": True}, 36 + 8 + 784 * 10 + 10),
        ({"widths": [4, 8], "hidden": 5}, 36 + 8 + 288 + 16 + 392 * 5 + 5 + 60),
        ({"widths": [2], "convs_per_stage": 2, "hidden": 0}, 18 + 4 + 36 + 4 + 392 * 10 + 10),
    ],
)
def test_number_of_weights(arguments, num_parameters):
    assert sum(p.numel() for p in CNN(**arguments).parameters()) == num_parameters


@pytest.mark.parametrize("widths", [[3], [2, 3, 4, 5]])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_logits_and_gradients(widths, batch_norm):
    model = CNN(widths=widths, hidden=6, batch_norm=batch_norm)
    logits = model(torch.rand(3, 1, 28, 28))
    assert logits.shape == (3, 10)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_pooling_first_changes_nothing_without_batch_norm():
    model = CNN(widths=[3], hidden=0, batch_norm=False, standardize_images=False).eval()
    images = torch.rand(2, 1, 28, 28)
    convolution, pooling, relu = model.stages[0]
    usual = pooling(relu(convolution((images - 0.1307) / 0.3081)))
    torch.testing.assert_close(model(images), model.head(usual))


def test_images_of_a_batch_do_not_see_each_other():
    model = CNN(widths=[3, 4]).eval()
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(model(images)[2:3], model(images[2:3]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("widths", []),
        ("widths", [1] * 5),
        ("widths", [0]),
        ("convs_per_stage", 0),
        ("hidden", -1),
        ("dropout", 1),
        ("dropout", "none"),
    ],
)
def test_arguments_outside_their_range_are_refused(field, value):
    with pytest.raises(FieldError, match=field):
        CNN(**{field: value})
