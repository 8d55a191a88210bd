"""Measure how long `train` takes to answer without training."""

import subprocess
import sys
from functools import partial

from omegaconf import DictConfig

from mnist_vision.benchmarks.harness import Row, medians, seconds

EXIT_CODES = {"--help": 0, "--cfg=job": 0, "optimzer.lr=1": 1}


def measure_startup(config: DictConfig) -> list[Row]:
    """Measure the time to the help, to the configuration and to the error of a mistyped key.

    Raises:
        RuntimeError: If a command ends with an unexpected exit code.
    """
    rows = []
    for argument in EXIT_CODES:
        (time,) = medians([partial(seconds, partial(_answer, argument))], config.repeats)
        rows.append(Row(f"answer to {argument}", time, None, "s", None, ""))
    return rows


def _answer(argument: str) -> None:
    command = [sys.executable, "-m", "mnist_vision.train", argument]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != EXIT_CODES[argument]:
        raise RuntimeError(f"train {argument} exits with {done.returncode}: {done.stderr}")
