"""A convolution for feature maps hardly larger than its kernel, faster in training on a CPU."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# The largest side at which skipping the padding saves more than it costs: on 4x4 pixels 44 of the
# 144 products of a 3x3 kernel are with padding, on 8x8 pixels 92 of 576.
MAX_SIDE = 4
# The same in float32 with AVX512, where oneDNN's convolution of 4x4 pixels took 0.7 of the time.
MAX_SIDE_AVX512 = 2


class SmallMapConv2d(nn.Conv2d):
    """nn.Conv2d with an odd square kernel, stride 1, and the padding that keeps a map's size.

    In training on a CPU, feature maps of at most `max_side` pixels a side are convolved as a sum of
    matrix products, one for each position of the kernel (tap). Each product skips the pixels that
    the tap would read from the padding, and the gradient of the weight has the weight's layout.
    nn.Conv2d does the rest: larger maps, evaluation, other devices. The results are equal up to
    rounding. In half precision the taps are added up in float32.

    Args:
        in_channels: Channels of the input, at least 1.
        out_channels: Channels of the output, at least 1.
        kernel_size: Side of the kernel, odd.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        assert kernel_size % 2 == 1
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve `Tensor[B, in_channels, H, W]` to `Tensor[B, out_channels, H, W]`."""
        is_half = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if is_half else images.dtype
        is_tap_by_tap = (
            torch.is_grad_enabled()
            and self.weight.requires_grad
            and images.device.type == "cpu"
            and not torch.compiler.is_compiling()  # which is for GPUs above all
            and max(images.shape[2:]) <= max_side(dtype)
        )
        if not is_tap_by_tap:
            return super().forward(images)
        images = images.to(dtype)
        # Pixels before images: a row of pixels, over all images, is then one matrix.
        pixels = images.permute(2, 3, 0, 1).contiguous()
        convolved: Tensor = _TapByTap.apply(pixels, self.weight, self.bias)
        return convolved.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


def max_side(dtype: torch.dtype) -> int:
    """The largest side of the maps that are convolved tap by tap on this processor."""
    has_avx512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return MAX_SIDE_AVX512 if dtype == torch.float32 and has_avx512 else MAX_SIDE


def use_small_map_convs(layers: nn.Sequential) -> None:
    """Replace each convolution that `SmallMapConv2d` is equal to; the weights are new."""
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d) and _keeps_size(layer):
            side = layer.kernel_size[0]
            layers[index] = SmallMapConv2d(layer.in_channels, layer.out_channels, side)


def _keeps_size(conv: nn.Conv2d) -> bool:
    side = conv.kernel_size[0]
    return (
        side % 2 == 1
        and conv.kernel_size == (side, side)
        and conv.padding == (side // 2, side // 2)
        and conv.padding_mode == "zeros"
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.bias is not None
    )


class _TapByTap(torch.autograd.Function):
    """The convolution of contiguous pixels `[H, W, B, C]`, tap by tap.

    The columns that a tap reads are copied once for all taps above and below it.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        height, width, num_images, _ = pixels.shape
        weight = weight.to(pixels.dtype)
        convolved = bias.to(_sum_dtype(pixels)).repeat(height, width, num_images, 1)
        for kernel_x, input_x, output_x in _taps(weight.shape[3], width):
            inputs = pixels[:, input_x].contiguous()
            outputs = convolved[:, output_x].contiguous()
            for kernel_y, input_y, output_y in _taps(weight.shape[2], height):
                tap = weight[:, :, kernel_y, kernel_x]
                _add_product(outputs[output_y], inputs[input_y], tap.T)
            convolved[:, output_x] = outputs
        ctx.save_for_backward(pixels, weight)
        return convolved.to(pixels.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        pixels, weight = ctx.saved_tensors
        height, width, _, _ = pixels.shape
        grad = grad.contiguous()
        dtype = _sum_dtype(pixels)
        weight_grad = torch.zeros_like(weight, dtype=dtype)
        pixels_grad = torch.zeros_like(pixels, dtype=dtype) if ctx.needs_input_grad[0] else None
        for kernel_x, input_x, output_x in _taps(weight.shape[3], width):
            inputs = pixels[:, input_x].contiguous()
            output_grad = grad[:, output_x].contiguous()
            input_grad = None if pixels_grad is None else pixels_grad[:, input_x].contiguous()
            for kernel_y, input_y, output_y in _taps(weight.shape[2], height):
                tap, tap_grad = (w[:, :, kernel_y, kernel_x] for w in (weight, weight_grad))
                rows = output_grad[output_y].flatten(0, 2)
                _store_product(tap_grad, rows.T, inputs[input_y].flatten(0, 2))
                if input_grad is not None:
                    _add_product(input_grad[input_y], output_grad[output_y], tap)
            if pixels_grad is not None and input_grad is not None:
                pixels_grad[:, input_x] = input_grad
        if pixels_grad is not None:
            pixels_grad = pixels_grad.to(pixels.dtype)
        return pixels_grad, weight_grad, grad.sum((0, 1, 2), dtype=dtype)


def _sum_dtype(pixels: Tensor) -> torch.dtype:
    """The precision that taps are added up in: half precision would be rounded too often."""
    return torch.promote_types(pixels.dtype, torch.float32)


def _add_product(result: Tensor, pixels: Tensor, matrix: Tensor) -> None:
    """Add `pixels @ matrix` to `result`; both are contiguous `[H, W, B, C]`."""
    sums, rows = result.flatten(0, 2), pixels.flatten(0, 2)
    if sums.dtype == rows.dtype:
        # Not addmm_: torch's FlopCounterMode does not count its operations.
        torch.addmm(sums, rows, matrix, out=sums)
    else:
        sums += rows @ matrix


def _store_product(result: Tensor, left: Tensor, right: Tensor) -> None:
    """Write `left @ right` to `result`."""
    if result.dtype == left.dtype:
        torch.mm(left, right, out=result)
    else:
        result.copy_(left @ right)


def _taps(kernel_side: int, map_side: int) -> Iterator[tuple[int, slice, slice]]:
    """For each tap along a side: its index, the pixels it reads, and the pixels it adds to."""
    for index in range(kernel_side):
        shift = index - kernel_side // 2
        if abs(shift) < map_side:
            start, stop = max(0, shift), min(map_side, map_side + shift)
            yield index, slice(start, stop), slice(start - shift, stop - shift)
