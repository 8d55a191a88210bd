"""Measure Faster R-CNN against the same layers in torchvision's modules."""

import itertools
from collections.abc import Callable
from functools import partial

import torch
from hydra import compose
from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig
from torch import Tensor

from mnist_vision.benchmarks import stock_detector
from mnist_vision.benchmarks.harness import (
    Row,
    choose_device,
    load_data,
    medians,
    seconds,
    training_batches,
)
from mnist_vision.data.boxes import label_ink
from mnist_vision.data.constants import IMAGE_SIZE
from mnist_vision.models.faster_rcnn import FasterRCNN

NUM_BATCHES = 10
NUM_WARMUPS = 5


def measure_detector(config: DictConfig) -> list[Row]:
    """Measure a training step and a detection, in milliseconds per image.

    Both sides find the boxes of the ink, take the optimizer's step, and share their weights.
    """
    datamodule = load_data(config)
    settings = compose("train", ["model=faster_rcnn", "model.standardize_images=false"])
    seed_everything(0, verbose=False)
    device = choose_device(config)
    model: FasterRCNN = instantiate(settings.model, _convert_="all").to(device)
    network = stock_detector.assemble(model.backbone, model.rpn, model.roi_heads, IMAGE_SIZE).to(
        device
    )
    optimizer = instantiate(settings.optimizer)(model.parameters())
    batches = list(itertools.islice(training_batches(datamodule, device), NUM_BATCHES))
    num_images = sum(len(targets) for _, targets in batches)

    def descend(losses: dict[str, Tensor]) -> None:
        optimizer.zero_grad()
        sum(losses.values(), start=torch.zeros(())).backward()
        optimizer.step()

    def train_ours(images: Tensor, targets: Tensor) -> None:
        descend(model.train().losses(images, targets))

    def train_theirs(images: Tensor, targets: Tensor) -> None:
        descend(stock_detector.losses(network, images, label_ink(images, targets)))

    @torch.inference_mode()
    def detect_ours(images: Tensor, targets: Tensor) -> None:
        model.eval().detect(images)

    def detect_theirs(images: Tensor, targets: Tensor) -> None:
        stock_detector.detect(network, images)

    def milliseconds(step: Callable[[Tensor, Tensor], None]) -> float:
        return sum(seconds(partial(step, *batch)) for batch in batches) / num_images * 1000

    for _ in range(NUM_WARMUPS):  # an untrained network proposes and detects far more boxes
        milliseconds(train_ours)
    rows = []
    for what, ours, theirs in (
        ("detector, training", train_ours, train_theirs),
        ("detector, detection", detect_ours, detect_theirs),
    ):
        pair = [partial(milliseconds, ours), partial(milliseconds, theirs)]
        our_time, their_time = medians(pair, config.repeats)
        ratio = their_time / our_time
        verdict = f"{ratio:.1f} times as fast"
        rows.append(Row(what, our_time, their_time, "ms/image", ratio, verdict))
    return rows
