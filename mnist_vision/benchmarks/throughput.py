"""Measure images per second of each architecture, as a share of the machine's peak."""

import logging
from collections.abc import Callable
from functools import partial

import torch
from hydra import compose
from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from mnist_vision.benchmarks.harness import Row, load_data, medians, seconds, training_batches
from mnist_vision.data.datamodule import Batch
from mnist_vision.models.classifier import DigitClassifier

log = logging.getLogger(__name__)

MATRIX_SIZE = 2048


def measure_architectures(config: DictConfig) -> list[Row]:
    """Measure training and inference on one batch, with random weights, in `precision`.

    The peak is the rate of large matrix products in the same precision. The operations of a
    network are those that torch counts: matrix products and convolutions.
    """
    batch = next(training_batches(load_data(config)))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16-mixed")
    rows = []
    with autocast:
        peak = _matmul_peak(config.repeats)
        log.info("matrix products: %.0f GFLOP/s", peak / 1e9)
    for name in config.architectures:
        for what, step in _steps(name, batch, autocast).items():
            with FlopCounterMode(display=False) as counter:
                step()
            (time,) = medians([partial(seconds, step)], config.repeats)
            share = counter.get_total_flops() / time / peak
            speed, verdict = len(batch[0]) / time, f"{share:.0%} of the peak"
            rows.append(Row(f"{name}, {what}", speed, None, "images/s", share, verdict))
    return rows


def _steps(name: str, batch: Batch, autocast: torch.autocast) -> dict[str, Callable[[], None]]:
    """Make a network; return a training step and a forward pass on the batch."""
    settings = compose("train", [f"model={name}"])
    seed_everything(0, verbose=False)
    model: DigitClassifier = instantiate(settings.model, _convert_="all")
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


def _matmul_peak(repeats: int) -> float:
    """Measure the best rate of large matrix products, in floating-point operations a second."""
    matrix = torch.rand(MATRIX_SIZE, MATRIX_SIZE)
    matrix @ matrix
    best = min(seconds(lambda: matrix @ matrix) for _ in range(3 * repeats))
    return 2 * MATRIX_SIZE**3 / best
