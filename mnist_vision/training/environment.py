"""A run's figures for people, and the environment that they were measured in."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

from mnist_vision.runs.record import TestFigures


def environment(trainer: Trainer) -> dict[str, Any]:
    """Versions, device and commit that a run's figures depend on."""
    device = trainer.strategy.root_device
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "lightning": version("lightning"),
        "torchvision": version("torchvision"),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "git": _git_commit(),
    }


def table(rows: dict[str, str]) -> list[str]:
    """Lines of names and values, in two columns."""
    return [f"{name:<18} {value}" for name, value in rows.items()]


def test_lines(test: TestFigures) -> list[str]:
    """The test figures of a run as lines of a table."""
    misses = f"{test.num_mistakes} of {test.num_images:,}"
    if test.missed:
        misses += f", {test.missed} of them not found"
    return table(
        {
            "test accuracy": f"{test.accuracy:.4f}",
            "test F1 (macro)": f"{test.f1:.4f}",
            "misses": misses,
        }
    )


def _git_commit() -> str | None:
    """The commit of the source tree this package runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
