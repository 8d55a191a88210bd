import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_vision.models.pretrained import small_map_conv
from mnist_vision.models.pretrained.small_map_conv import (
    MAX_SIDE,
    SmallMapConv2d,
    use_small_map_convs,
)


@pytest.fixture
def num_products(monkeypatch):
    """How many convolutions were computed tap by tap."""
    counted = []
    apply = small_map_conv._TapByTap.apply
    monkeypatch.setattr(
        small_map_conv._TapByTap, "apply", lambda *args: counted.append(args) or apply(*args)
    )
    return lambda: len(counted)


def plain_twin(conv):
    twin = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding
    ).to(conv.weight.dtype)
    twin.load_state_dict(conv.state_dict())
    return twin


def random_images(height, width=None, dtype=torch.float64):
    return torch.randn(3, 4, height, width or height, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 4), (1, 4), (3, 2)])
def test_it_convolves_as_torch_does_forwards_and_backwards(kernel_size, size, num_products):
    conv = SmallMapConv2d(4, 5, kernel_size).double()
    twin = plain_twin(conv)
    images = random_images(*size)
    copies = images.detach().clone().requires_grad_()
    weights = torch.randn(3, 5, *size, dtype=torch.float64)

    ours, theirs = conv(images), twin(copies)
    torch.testing.assert_close(ours, theirs)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(images.grad, copies.grad)
    torch.testing.assert_close(conv.weight.grad, twin.weight.grad)
    torch.testing.assert_close(conv.bias.grad, twin.bias.grad)
    assert num_products() == 1


def test_its_gradients_are_those_of_what_it_computes():
    conv = SmallMapConv2d(4, 5, 3).double()
    assert torch.autograd.gradcheck(conv, random_images(2, 3), fast_mode=True)


@pytest.mark.parametrize(("num_images", "size"), [(1, 2), (2, 1), (2, 2)])
def test_what_it_gives_may_be_changed_in_place(num_images, size):
    conv, relu = SmallMapConv2d(4, 5, 3), nn.ReLU(inplace=True)
    images = torch.randn(num_images, 4, size, size)
    relu(conv(images)).sum().backward()
    ours = conv.weight.grad
    twin = plain_twin(conv)
    relu(twin(images)).sum().backward()
    torch.testing.assert_close(ours, twin.weight.grad)


def test_its_products_are_counted_and_none_is_with_padding():
    conv = SmallMapConv2d(4, 5, 3)
    with FlopCounterMode(display=False) as counter:
        conv(random_images(2, dtype=torch.float32)).sum().backward()
    num_taps_on_the_map = 4 * 4
    num_passes = 3  # what it makes, the gradient of the weight, that of the images
    assert counter.get_total_flops() == 2 * 3 * num_taps_on_the_map * 4 * 5 * num_passes


def test_images_that_need_no_gradient_get_none(num_products):
    conv = SmallMapConv2d(4, 5, 3)
    images = random_images(2, dtype=torch.float32).detach()
    conv(images).sum().backward()
    assert images.grad is None
    assert conv.weight.grad is not None
    assert num_products() == 1


def test_the_layout_of_weight_and_images_is_kept():
    conv = SmallMapConv2d(4, 5, 3).to(memory_format=torch.channels_last)
    images = torch.randn(3, 4, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    convolved = conv(images)
    convolved.sum().backward()
    assert convolved.is_contiguous(memory_format=torch.channels_last)
    assert images.grad.is_contiguous(memory_format=torch.channels_last)
    assert conv.weight.grad.is_contiguous(memory_format=torch.channels_last)


def test_large_maps_evaluation_and_frozen_weights_are_torchs(num_products):
    conv = SmallMapConv2d(4, 5, 3)
    images = random_images(2, dtype=torch.float32).detach()
    conv(random_images(MAX_SIDE + 1, dtype=torch.float32))
    conv(random_images(2, MAX_SIDE + 1, dtype=torch.float32))
    with torch.no_grad():
        conv(images)
    conv.requires_grad_(False)
    conv(images)
    assert num_products() == 0


@pytest.mark.parametrize(
    ("capability", "dtype", "side"),
    [
        ("AVX512", torch.float32, 2),
        ("AVX512", torch.bfloat16, 4),
        ("AVX2", torch.float32, 4),
        ("DEFAULT", torch.float32, 4),
    ],
)
def test_maps_are_small_where_it_is_faster(monkeypatch, num_products, capability, dtype, side):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    conv = SmallMapConv2d(4, 5, 3).to(dtype)
    for more in (1, 0):
        conv(torch.randn(2, 4, side + more, side, dtype=dtype))
        assert (num_products() == 0) is bool(more)


def test_a_compiled_network_has_torchs_convolution(num_products):
    conv = SmallMapConv2d(4, 5, 3)
    images = random_images(2, dtype=torch.float32)
    compiled = torch.compile(conv, backend="eager")(images)
    assert num_products() == 0
    torch.testing.assert_close(compiled, conv(images))


@pytest.mark.parametrize("is_autocast", [True, False])
def test_half_precision_gives_what_torch_gives_up_to_its_rounding(is_autocast, num_products):
    conv = SmallMapConv2d(64, 5, 3)
    twin = plain_twin(conv).double()
    images = torch.randn(3, 64, 2, 2).bfloat16()
    weights = torch.randn(3, 5, 2, 2)
    # Both convolve the same rounded numbers: only sums and results may differ.
    twin.load_state_dict({name: t.bfloat16() for name, t in conv.state_dict().items()})
    theirs = images.double().requires_grad_()
    ours = (images.float() if is_autocast else images).requires_grad_()
    if not is_autocast:
        conv.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        convolved = conv(ours)
    assert convolved.dtype == torch.bfloat16
    (convolved * weights.bfloat16()).sum().backward()
    expected = twin(theirs)
    (expected * weights.bfloat16()).sum().backward()
    for tensor, reference in (
        (convolved, expected),
        (ours.grad, theirs.grad),
        (conv.weight.grad, twin.weight.grad),
        (conv.bias.grad, twin.bias.grad),
    ):
        error = (tensor - reference).norm() / reference.norm()
        assert error < 2 * torch.finfo(torch.bfloat16).eps
    assert conv.weight.grad.dtype == conv.weight.dtype
    assert num_products() == 1


def test_a_convolution_is_replaced_and_its_shapes_kept():
    layers = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 3, 5, padding=2))
    shapes = {name: tensor.shape for name, tensor in layers.state_dict().items()}
    use_small_map_convs(layers)
    assert [type(layer) for layer in layers] == [SmallMapConv2d, nn.ReLU, SmallMapConv2d]
    assert {name: tensor.shape for name, tensor in layers.state_dict().items()} == shapes


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 2, 3),
        nn.Conv2d(2, 2, 2, padding=1),
        nn.Conv2d(2, 2, (3, 5), padding=(1, 2)),
        nn.Conv2d(2, 2, 3, padding=1, stride=2),
        nn.Conv2d(2, 2, 3, padding=1, dilation=2),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, bias=False),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_a_convolution_of_another_kind_stays(conv):
    layers = nn.Sequential(conv)
    use_small_map_convs(layers)
    assert layers[0] is conv
