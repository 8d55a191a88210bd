"""Speed as ratios: two ways of doing the same thing, measured in one run on one machine."""

import itertools
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from hydra.utils import instantiate
from lightning import Callback, Trainer, seed_everything
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from torchvision.datasets import MNIST

from mnist_vision.benchmarks import stock_detector
from mnist_vision.benchmarks.beginner import BeginnerNetwork, accuracy, train_epoch
from mnist_vision.common.errors import FieldError, check_whole
from mnist_vision.common.files import write_json
from mnist_vision.common.memory import keep_freed_memory
from mnist_vision.common.quiet import quiet_libraries
from mnist_vision.data.boxes import label_ink
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.data.download import ensure_mnist
from mnist_vision.data.mnist import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD
from mnist_vision.models.classifier import DigitClassifier
from mnist_vision.models.faster_rcnn import FasterRCNN
from mnist_vision.models.pretrained.small_map_conv import SmallMapConv2d
from mnist_vision.runs.directory import BENCHMARK_FILE, RunDirectory
from mnist_vision.runs.record import Results
from mnist_vision.training.run import run as run_training

log = logging.getLogger(__name__)

MAX_BEGINNER_EPOCHS = 20
NUM_DETECTOR_BATCHES = 10
NUM_DETECTOR_WARMUPS = 5
NUM_CONVOLUTIONS = 10
MATRIX_SIZE = 2048


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        what: What was measured.
        ours: Our figure.
        theirs: The figure it is compared with, if there is one.
        unit: The unit of both.
        ratio: Ours to theirs, in the sense that `verdict` explains.
        verdict: The comparison in words.
    """

    what: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    verdict: str


def run(config: DictConfig) -> None:
    """Measures the parts of `conf/benchmark.yaml`, prints the table, writes `benchmark.json`.

    Raises:
        FieldError: If a part is unknown or the number of repeats is less than 1.
    """
    parts: dict[str, Callable[[DictConfig], list[Row]]] = {
        "data": measure_data_path,
        "lightning": measure_lightning,
        "target": measure_target,
        "detector": measure_detector,
        "small_maps": measure_small_maps,
        "architectures": measure_architectures,
        "startup": measure_startup,
    }
    for part in config.parts:
        if part not in parts:
            raise FieldError("parts", part, f"some of {', '.join(parts)}")
    check_whole("repeats", config.repeats, 1)
    quiet_libraries()
    torch.set_flush_denormal(True)
    keep_freed_memory()
    rows = []
    for part in config.parts:
        log.info("measuring: %s", part)
        rows += parts[part](config)
    for line in _table(rows):
        log.info(line)
    write_json(
        Path(config.output_dir) / BENCHMARK_FILE,
        {"version": 1, "threads": torch.get_num_threads(), "rows": [asdict(row) for row in rows]},
    )


def measure_data_path(config: DictConfig) -> list[Row]:
    """One pass over the training images: images/s against torchvision's usual path.

    Both deliver normalised float32 batches of the same size in shuffled order.
    """
    datamodule = _datamodule(config)
    usual = MNIST(
        Path(config.data.root).expanduser(),
        transform=transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((PIXEL_MEAN,), (PIXEL_STD,))]
        ),
    )

    def ours() -> int:
        count = 0
        for batch in datamodule.train_dataloader():
            images, _ = datamodule.on_after_batch_transfer(batch, 0)
            count += len((images - PIXEL_MEAN) / PIXEL_STD)
        return count

    def theirs() -> int:
        loader = DataLoader(usual, datamodule.batch_size, shuffle=True)
        return sum(len(images) for images, _ in loader)

    speeds = _in_turns([_images_per_second(ours), _images_per_second(theirs)], config.repeats)
    ratio = speeds[0] / speeds[1]
    verdict = f"{ratio:.0f} times as fast"
    return [Row("data path", speeds[0], speeds[1], "images/s", ratio, verdict)]


def measure_lightning(config: DictConfig) -> list[Row]:
    """One training epoch of the default recipe: under Lightning, and as a bare loop."""
    datamodule = _datamodule(config)
    settings = compose("train")

    def prepare() -> DigitClassifier:
        seed_everything(0, verbose=False)
        model: DigitClassifier = instantiate(settings.model, _convert_="all")
        model.set_recipe(instantiate(settings.optimizer), instantiate(settings.scheduler))
        return model.train()

    def ours() -> float:
        clock = _EpochClock()
        kept = ("progress", "finite_loss", "learning_rate")
        callbacks = [instantiate(settings.callbacks[name]) for name in kept]
        trainer: Trainer = instantiate(
            settings.trainer,
            max_epochs=1,
            limit_val_batches=0,
            accelerator="cpu",
            enable_checkpointing=False,
            callbacks=[*callbacks, clock],
            logger=list(instantiate(settings.logger).values()),
        )
        augmented = instantiate(config.data, _convert_="all")
        trainer.fit(prepare(), datamodule=augmented)
        return clock.seconds

    def theirs() -> float:
        model = prepare()
        augment = instantiate(config.data.augmentation)
        loader = datamodule.train_dataloader()
        optimizer = instantiate(settings.optimizer)(model.parameters())
        scheduler = instantiate(settings.scheduler)(optimizer, len(loader))
        started = time.perf_counter()
        for batch in loader:
            images, targets = datamodule.on_after_batch_transfer(batch, 0)
            loss = F.cross_entropy(model(augment(images)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        return time.perf_counter() - started

    seconds = _in_turns([ours, theirs], config.repeats)
    ratio = seconds[0] / seconds[1]
    verdict = f"Lightning adds {ratio - 1:+.1%}"
    return [Row("training epoch", seconds[0], seconds[1], "s", ratio, verdict)]


def measure_target(config: DictConfig) -> list[Row]:
    """Seconds of training to a test accuracy: `experiment=speedrun` against a beginner's loop.

    Ours is a recipe of fixed length, tested at its end; its time, the median over `repeats` seeds,
    covers validation too. The beginner's loop, one seed, may look at the test images after each
    epoch and stop as soon as it is there, and its testing is not counted.
    """
    ensure_mnist(config.data.root, download=config.data.download)
    runs = [_speedrun(config, seed) for seed in range(config.repeats)]
    ours = statistics.median(results.seconds.fit for results in runs)
    reached = statistics.mean(results.test.accuracy for results in runs)

    log.info("the beginner's loop, epoch by epoch, until %.4f", config.target_accuracy)
    seed_everything(0, verbose=False)
    root = Path(config.data.root).expanduser()
    network = BeginnerNetwork()
    theirs, epochs, beginner = 0.0, 0, 0.0
    while beginner < config.target_accuracy and epochs < MAX_BEGINNER_EPOCHS:
        theirs += train_epoch(network, root)
        epochs += 1
        beginner = accuracy(network, root)
        log.info("epoch %d  %.0f s  test accuracy %.4f", epochs, theirs, beginner)
    ratio = theirs / ours if min(reached, beginner) >= config.target_accuracy else None
    verdict = (
        f"{f'{ratio:.0f} times as fast' if ratio else 'target not reached'}: "
        f"{reached:.4f} (mean of {len(runs)} seeds), {beginner:.4f} ({epochs} epochs, 1 seed)"
    )
    return [Row(f"training to {config.target_accuracy}", ours, theirs, "s", ratio, verdict)]


def _speedrun(config: DictConfig, seed: int) -> Results:
    """The results of one run of the experiment."""
    run_dir = Path(config.output_dir) / f"speedrun_{seed}"
    run_dir.mkdir()
    settings = compose("train", ["experiment=speedrun", f"seed={seed}"])
    settings.output_dir = str(run_dir)
    settings.data.root, settings.data.download = config.data.root, config.data.download
    run_training(settings)
    return RunDirectory(run_dir).read_results()


def measure_detector(config: DictConfig) -> list[Row]:
    """A training step and a detection: Faster R-CNN, and the same layers in torchvision's modules.

    Both sides find the boxes of the ink and take the optimizer's step; both have the same weights.
    """
    datamodule = _datamodule(config)
    settings = compose("train", ["model=faster_rcnn"])
    seed_everything(0, verbose=False)
    model: FasterRCNN = instantiate(settings.model, _convert_="all")
    network = stock_detector.assemble(model.backbone, model.rpn, model.roi_heads, IMAGE_SIZE)
    optimizer = instantiate(settings.optimizer)(model.parameters())
    loader = datamodule.train_dataloader()
    batches = [
        datamodule.on_after_batch_transfer(batch, 0)
        for batch in itertools.islice(loader, NUM_DETECTOR_BATCHES)
    ]
    num_images = sum(len(targets) for _, targets in batches)

    def milliseconds(step: Callable[[Tensor, Tensor], Any]) -> Callable[[], float]:
        def measure() -> float:
            started = time.perf_counter()
            for images, targets in batches:
                step(images, targets)
            return (time.perf_counter() - started) / num_images * 1000

        return measure

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

    for _ in range(NUM_DETECTOR_WARMUPS):  # an untrained network finds unusually much
        milliseconds(train_ours)()
    rows = []
    for what, ours, theirs in (
        ("detector, training", train_ours, train_theirs),
        ("detector, detection", detect_ours, detect_theirs),
    ):
        times = _in_turns([milliseconds(ours), milliseconds(theirs)], config.repeats)
        ratio = times[1] / times[0]
        verdict = f"{ratio:.1f} times as fast"
        rows.append(Row(what, times[0], times[1], "ms/image", ratio, verdict))
    return rows


def measure_small_maps(config: DictConfig) -> list[Row]:
    """A convolution of VGG16's last two blocks, forwards and backwards, and torch's own."""
    channels, num_images = 512, 32
    convs = [
        conv.to(memory_format=torch.channels_last)
        for conv in (
            SmallMapConv2d(channels, channels, 3),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
    ]
    rows = []
    for side in (4, 2):
        images = torch.rand(num_images, channels, side, side).to(memory_format=torch.channels_last)
        images.requires_grad_()
        measures = [partial(_milliseconds_of_training, conv, images) for conv in convs]
        ours, theirs = _in_turns(measures, config.repeats)
        verdict = f"{theirs / ours:.1f} times as fast"
        rows.append(Row(f"conv, {side}x{side}", ours, theirs, "ms", theirs / ours, verdict))
    return rows


def _milliseconds_of_training(layer: nn.Module, images: Tensor) -> float:
    started = time.perf_counter()
    for _ in range(NUM_CONVOLUTIONS):
        layer.zero_grad()
        layer(images).sum().backward()
    return (time.perf_counter() - started) / NUM_CONVOLUTIONS * 1000


def measure_architectures(config: DictConfig) -> list[Row]:
    """Images/s of each architecture, and the share of the machine's peak that it works at.

    One batch, random weights, `precision` as the trainer would have it. The peak is that of
    products of large matrices; the operations are those that torch counts, which are those of
    matrix products and convolutions.
    """
    datamodule = _datamodule(config)
    is_bf16 = config.precision == "bf16-mixed"
    with _autocast(is_bf16):
        peak = _matmul_peak(config.repeats)
    log.info("matrix products: %.0f GFLOP/s", peak / 1e9)
    rows = []
    for name in config.architectures:
        steps = _steps(name, datamodule, is_bf16)
        for what, step in zip(("training", "inference"), steps, strict=True):
            with FlopCounterMode(display=False) as counter:
                num_images = step()
            seconds = _in_turns([partial(_seconds, step)], config.repeats)[0]
            share = counter.get_total_flops() / seconds / peak
            speed = num_images / seconds
            rows.append(
                Row(f"{name}, {what}", speed, None, "images/s", share, f"{share:.0%} of the peak")
            )
    return rows


def _steps(
    name: str, datamodule: MNISTDataModule, is_bf16: bool
) -> tuple[Callable[[], int], Callable[[], int]]:
    """A training step and a forward pass on one batch; each gives the number of its images."""
    settings = compose("train", [f"model={name}"])
    seed_everything(0, verbose=False)
    model: DigitClassifier = instantiate(settings.model, _convert_="all")
    optimizer = instantiate(settings.optimizer)(model.parameter_groups())
    batch = next(iter(datamodule.train_dataloader()))
    images, targets = datamodule.on_after_batch_transfer(batch, 0)

    def train() -> int:
        with _autocast(is_bf16):
            loss = sum(model.train().losses(images, targets).values(), start=torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(images)

    @torch.inference_mode()
    def infer() -> int:
        with _autocast(is_bf16):
            model.eval()(images)
        return len(images)

    return train, infer


def _autocast(is_bf16: bool) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=is_bf16)


def _matmul_peak(repeats: int) -> float:
    """The best of some products of large matrices, in floating-point operations a second."""
    matrix = torch.rand(MATRIX_SIZE, MATRIX_SIZE)

    def multiply() -> int:
        matrix @ matrix
        return 0

    multiply()
    return 2 * MATRIX_SIZE**3 / min(_seconds(multiply) for _ in range(3 * repeats))


def _seconds(step: Callable[[], int]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def measure_startup(config: DictConfig) -> list[Row]:
    """Seconds until `train` answers without training.

    Raises:
        RuntimeError: If it answers otherwise than it should.
    """
    rows = []
    for argument, exit_code in {"--help": 0, "--cfg=job": 0, "optimzer.lr=1": 1}.items():

        def answer(argument: str = argument, exit_code: int = exit_code) -> float:
            command = [sys.executable, "-m", "mnist_vision.train", argument]
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, check=False, text=True)
            seconds = time.perf_counter() - started
            if done.returncode != exit_code:
                raise RuntimeError(f"train {argument} exits with {done.returncode}: {done.stderr}")
            return seconds

        (seconds,) = _in_turns([answer], config.repeats)
        rows.append(Row(f"answer to {argument}", seconds, None, "s", None, ""))
    return rows


class _EpochClock(Callback):
    """Times an epoch, without the set-up before it."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.seconds = -time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.seconds += time.perf_counter()


def _datamodule(config: DictConfig) -> MNISTDataModule:
    """The data module without augmentation, its data loaded."""
    datamodule: MNISTDataModule = instantiate(config.data, augmentation=None)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


def _images_per_second(count_images: Callable[[], int]) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        return count_images() / (time.perf_counter() - started)

    return measure


def _in_turns(measures: Sequence[Callable[[], float]], repeats: int) -> list[float]:
    """The median of each measure, taken in turns so that a slow minute hits all alike."""
    rounds = [[measure() for measure in measures] for _ in range(repeats)]
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [f"{'':<26}{'ours':>12}{'theirs':>12}  unit"]
    for row in rows:
        theirs = "" if row.theirs is None else f"{row.theirs:,.2f}"
        lines.append(
            f"{row.what:<26}{row.ours:>12,.2f}{theirs:>12}  {row.unit:<10}{row.verdict}".rstrip()
        )
    return lines
