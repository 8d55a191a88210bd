"""Measure the training time to a test accuracy, against PyTorch's basic MNIST example."""

import logging
import statistics
from pathlib import Path

from hydra import compose
from lightning import seed_everything
from omegaconf import DictConfig

from mnist_vision.benchmarks.beginner import BeginnerNetwork, accuracy, train_epoch
from mnist_vision.benchmarks.harness import Row, choose_device
from mnist_vision.data.download import ensure_mnist
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Results
from mnist_vision.training.run import run

log = logging.getLogger(__name__)

MAX_BEGINNER_EPOCHS = 20


def measure_target(config: DictConfig) -> list[Row]:
    """Measure `experiment=speedrun` against the beginner's loop.

    Our recipe has a fixed length and is tested at its end; its time is the median over `repeats`
    seeds and includes validation. It trains as `train` does: in bfloat16 where that is fast. The
    beginner's loop runs with one seed. It may test after each epoch and stop when it reaches the
    target; the time of its tests is not counted.
    """
    ensure_mnist(config.data.root, download=config.data.download)
    target = config.target_accuracy
    runs = [_speedrun(config, seed) for seed in range(config.repeats)]
    ours = statistics.median(results.seconds.fit for results in runs)
    our_accuracy = statistics.mean(results.test.accuracy for results in runs)
    theirs, epochs, their_accuracy = _beginner(config)
    ratio = theirs / ours if min(our_accuracy, their_accuracy) >= target else None
    verdict = (
        f"{f'{ratio:.0f} times as fast' if ratio else 'target not reached'}: {our_accuracy:.4f} "
        f"(mean of {len(runs)} seeds, {runs[0].environment['precision']}), {their_accuracy:.4f} "
        f"({epochs} epochs, 1 seed, float32)"
    )
    return [Row(f"training to {target}", ours, theirs, "s", ratio, verdict)]


def _speedrun(config: DictConfig, seed: int) -> Results:
    run_dir = Path(config.output_dir) / f"speedrun_{seed}"
    run_dir.mkdir()
    settings = compose("train", ["experiment=speedrun", f"seed={seed}"])
    settings.output_dir = str(run_dir)
    settings.trainer.accelerator = config.accelerator
    settings.data.root, settings.data.download = config.data.root, config.data.download
    run(settings)
    return RunDirectory(run_dir).read(Results)


def _beginner(config: DictConfig) -> tuple[float, int, float]:
    """Train until the target or the last epoch: training seconds, epochs, test accuracy."""
    root, target = Path(config.data.root).expanduser(), config.target_accuracy
    log.info("the beginner's loop, epoch by epoch, until %.4f", target)
    seed_everything(0, verbose=False)
    network = BeginnerNetwork(choose_device(config))
    seconds, epochs, reached = 0.0, 0, 0.0
    while reached < target and epochs < MAX_BEGINNER_EPOCHS:
        seconds += train_epoch(network, root)
        epochs += 1
        reached = accuracy(network, root)
        log.info("epoch %d  %.0f s  test accuracy %.4f", epochs, seconds, reached)
    return seconds, epochs, reached
