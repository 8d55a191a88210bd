"""Measure images per second of each architecture, as a share of the device's peak."""

import logging
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import torch
from hydra import compose
from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mnist_vision.benchmarks.harness import (
    Row,
    choose_device,
    load_data,
    medians,
    seconds,
    training_batches,
)
from mnist_vision.data.datamodule import Batch
from mnist_vision.models.classifier import DigitClassifier

log = logging.getLogger(__name__)

# Matrices, and images `[B, C, H, W]`, that are large for a CPU, and for a GPU.
MATRIX_SIZES = {"cpu": (1024, 2048), "gpu": (4096, 8192)}
CONV_SHAPES = {"cpu": ((32, 256, 16, 16), (32, 128, 32, 32)), "gpu": ((512, 512, 32, 32),)}


def measure_architectures(config: DictConfig) -> list[Row]:
    """Measure training and inference on one batch, with random weights, in `precision`.

    The peak is the best rate of large matrix products and convolutions in the same precision. The
    operations of a network are its matrix products and convolutions, without those with padding.
    """
    device = choose_device(config)
    batch = next(training_batches(load_data(config), device))
    is_half = config.precision == "bf16-mixed"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=is_half)
    dtype = torch.bfloat16 if is_half else torch.float32
    peak = _measure_peak(device, dtype, config.repeats)
    log.info("peak: %.0f GFLOP/s", peak / 1e9)
    rows = []
    for name in config.architectures:
        for what, step in _steps(name, batch, autocast).items():
            num_operations = count_operations(step)
            (time,) = medians([partial(seconds, step)], config.repeats)
            share = num_operations / time / peak
            speed, verdict = len(batch[0]) / time, f"{_percent(share)} of the peak"
            rows.append(Row(f"{name}, {what}", speed, None, "images/s", share, verdict))
    return rows


def _percent(share: float) -> str:
    """Write a share in percent; a small one keeps a digit after the point."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def _steps(name: str, batch: Batch, autocast: torch.autocast) -> dict[str, Callable[[], None]]:
    """Make a network; return a training step and a forward pass on the batch."""
    settings = compose("train", [f"model={name}"])
    seed_everything(0, verbose=False)
    model: DigitClassifier = instantiate(settings.model, _convert_="all").to(batch[0].device)
    optimizer = instantiate(settings.optimizer)(model.parameter_groups())
    images, targets = batch

    def train() -> None:
        with autocast:
            loss = sum(model.train().losses(images, targets).values(), start=torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def infer() -> None:
        with autocast:
            model.eval()(images)

    return {"training": train, "inference": infer}


def _measure_peak(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Measure the best rate of large products, in floating-point operations a second.

    On a CPU two libraries compute them: MKL the matrix products in float32, oneDNN the
    convolutions. With AVX512 on a processor of AMD, MKL reaches less than half the rate of oneDNN.
    """
    kind = "cpu" if device.type == "cpu" else "gpu"
    with device:
        products = [_matrix_product(size, dtype) for size in MATRIX_SIZES[kind]]
        products += [_convolution(shape, dtype) for shape in CONV_SHAPES[kind]]
    return max(
        count_operations(product) / min(seconds(product) for _ in range(3 * repeats))
        for product in products
    )


def _matrix_product(size: int, dtype: torch.dtype) -> Callable[[], Any]:
    left, right, result = torch.rand(3, size, size).to(dtype)
    return partial(torch.mm, left, right, out=result)


def _convolution(shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[], Any]:
    """Make a 3x3 convolution without padding that keeps the number of channels."""
    _, channels, *_ = shape
    images, kernel = (
        torch.rand(size).to(dtype, memory_format=torch.channels_last)
        for size in (shape, (channels, channels, 3, 3))
    )
    return partial(F.conv2d, images, kernel)


def count_operations(step: Callable[[], Any]) -> int:
    """Count the floating-point operations of a step: matrix products and convolutions.

    FlopCounterMode also counts products with the padding of a convolution, which need not be
    computed: more than half of them on 2x2 pixels.
    """
    formulas = {
        torch.ops.aten.convolution: _convolution_operations,
        torch.ops.aten.convolution_backward: _gradient_operations,
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        step()
    num_operations: int = counter.get_total_flops()
    return num_operations


def _convolution_operations(
    images: list[int],
    kernel: list[int],
    bias: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    *_: Any,
    **__: Any,
) -> int:
    """Count the operations of a convolution of images `[B, C, H, W]`, without the bias.

    Args:
        images: Shape.
        kernel: Shape, `[out channels, in channels of a group, height, width]`.
        bias: Not used.
        stride: Along both sides, as are padding and dilation.
        padding: Pixels.
        dilation: Pixels.
    """
    sides = zip(images[2:], kernel[2:], stride, padding, dilation, strict=True)
    return 2 * images[0] * kernel[0] * kernel[1] * prod(_num_reads(*side) for side in sides)


def _num_reads(side: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Count the pixels that all outputs along a side read."""
    num_outputs = (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return sum(
        0 <= output * stride - padding + tap * dilation < side
        for output in range(num_outputs)
        for tap in range(kernel)
    )


def _gradient_operations(
    grad: list[int], images: list[int], kernel: list[int], *settings: Any, **_: Any
) -> int:
    """Count the operations of the gradients of images and kernel: each as the convolution."""
    num_gradients: int = sum(settings[-1][:2])  # the third, of the bias, has no products
    return num_gradients * _convolution_operations(images, kernel, *settings)
