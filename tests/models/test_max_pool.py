import pytest
import torch
from torch import nn

from mnist_vision.models.max_pool import MaxPool2x2


def random_images(*shape):
    return torch.randn(shape).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (3, 8), (2, 2)])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_it_pools_as_torch_does(size, context):
    images = random_images(2, 3, *size)
    with context():
        pooled = MaxPool2x2()(images)
    assert pooled.equal(nn.MaxPool2d(2)(images))
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_it_has_the_gradient_of_torchs():
    images = random_images(2, 3, 4, 4).requires_grad_()
    copies = images.detach().clone().requires_grad_()
    MaxPool2x2()(images).square().sum().backward()
    nn.MaxPool2d(2)(copies).square().sum().backward()
    assert images.grad.equal(copies.grad)


def test_it_is_exported_as_a_pooling():
    with torch.no_grad():
        program = torch.export.export(MaxPool2x2().eval(), (random_images(2, 3, 4, 4),))
    assert any("max_pool2d" in str(node.target) for node in program.graph.nodes)
