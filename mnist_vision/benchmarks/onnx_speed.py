"""Measure exported networks in onnxruntime against torch, both on the CPU."""

from collections.abc import Sequence
from functools import partial

import torch
from hydra import compose
from hydra.utils import instantiate
from lightning import seed_everything
from omegaconf import DictConfig

from mnist_vision.benchmarks.harness import Row, medians, seconds
from mnist_vision.common.quiet import discard_output
from mnist_vision.data.constants import IMAGE_SIZE
from mnist_vision.inference.checkpoint_network import TorchNetwork
from mnist_vision.inference.exported_program import capture, to_onnx
from mnist_vision.inference.model_metadata import ModelMetadata
from mnist_vision.inference.network import Images, Network
from mnist_vision.inference.onnx_network import OnnxNetwork
from mnist_vision.models.classifier import DigitClassifier

NUM_SINGLE = 50  # images that the latency is the mean of
BATCH_SIZE = 256
NUM_BATCHES = 5  # that the throughput is the mean of


def measure_export(config: DictConfig) -> list[Row]:
    """Measure the latency of one image and the throughput of a batch, with random weights."""
    images = torch.rand(BATCH_SIZE, 1, IMAGE_SIZE, IMAGE_SIZE).numpy()
    rows = []
    for name in config.architectures:
        exported, eager = _networks(name)
        pair = [partial(_latency, network, images) for network in (exported, eager)]
        ours, theirs = medians(pair, config.repeats)
        rows.append(_row(f"{name}, 1 image", ours, theirs, "ms", theirs / ours))
        pair = [partial(_throughput, network, images) for network in (exported, eager)]
        ours, theirs = medians(pair, config.repeats)
        rows.append(_row(f"{name}, {BATCH_SIZE}", ours, theirs, "images/s", ours / theirs))
    return rows


def _networks(name: str) -> tuple[Network, Network]:
    """Make an untrained network, exported and as it is."""
    settings = compose("train", [f"model={name}"])
    seed_everything(0, verbose=False)
    model: DigitClassifier = instantiate(settings.model, _convert_="all").eval()
    metadata = ModelMetadata(name, is_for_scenes=False)
    with discard_output():
        program = capture(model, torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE), any_size=False)
        content = to_onnx(program, metadata.to_texts())
    exported = OnnxNetwork(f"{name}.onnx", content)
    networks = exported, TorchNetwork(model.outputs, name, is_for_scenes=False)
    for network in networks:
        network(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE).numpy())  # the first call allocates
    return networks


def _latency(network: Network, images: Images) -> float:
    """Milliseconds an image, one by one."""
    return 1000 * _seconds_a_call(network, list(images[:NUM_SINGLE, None]))


def _throughput(network: Network, images: Images) -> float:
    """Images a second in batches."""
    return len(images) / _seconds_a_call(network, [images] * NUM_BATCHES)


def _seconds_a_call(network: Network, batches: Sequence[Images]) -> float:
    """Mean time of a call, after as many that do not count.

    The threads of the other library keep the cores busy for a while after its last call.
    """

    def classify() -> None:
        for batch in batches:
            network(batch)

    classify()
    return seconds(classify) / len(batches)


def _row(what: str, ours: float, theirs: float, unit: str, ratio: float) -> Row:
    return Row(f"export: {what}", ours, theirs, unit, ratio, f"{ratio:.1f} times as fast")
