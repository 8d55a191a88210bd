"""Measure the convolution of small feature maps against torch's."""

from functools import partial

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from mnist_vision.benchmarks.harness import Row, medians, seconds
from mnist_vision.models.pretrained.small_map_conv import SmallMapConv2d

NUM_CHANNELS = 512
NUM_IMAGES = 32
NUM_STEPS = 10


def measure_small_maps(config: DictConfig) -> list[Row]:
    """Measure forward and backward of a convolution of VGG16's last two blocks."""
    convs = [
        SmallMapConv2d(NUM_CHANNELS, NUM_CHANNELS, 3),
        nn.Conv2d(NUM_CHANNELS, NUM_CHANNELS, 3, padding=1),
    ]
    convs = [conv.to(memory_format=torch.channels_last) for conv in convs]
    rows = []
    for side in (4, 2):
        images = torch.rand(NUM_IMAGES, NUM_CHANNELS, side, side)
        images = images.to(memory_format=torch.channels_last).requires_grad_()
        measures = [partial(_milliseconds, conv, images) for conv in convs]
        ours, theirs = medians(measures, config.repeats)
        verdict = f"{theirs / ours:.1f} times as fast"
        rows.append(Row(f"conv, {side}x{side}", ours, theirs, "ms", theirs / ours, verdict))
    return rows


def _milliseconds(layer: nn.Module, images: Tensor) -> float:
    def train() -> None:
        for _ in range(NUM_STEPS):
            layer.zero_grad()
            layer(images).sum().backward()

    return seconds(train) / NUM_STEPS * 1000
