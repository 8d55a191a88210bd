"""What a finished run leaves: results.json and, beside it, its test predictions."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer

from mnist_vision.evaluation import TestResult
from mnist_vision.files import RESULTS_FILE, write_atomically


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


def read_results(run_dir: Path) -> dict[str, Any]:
    """Reads the results of a finished run."""
    results: dict[str, Any] = json.loads((run_dir / RESULTS_FILE).read_text())
    return results


def write_predictions(path: Path, test: TestResult) -> None:
    """Writes `targets` `[N]`, `preds` `[N]` and `scores` `[N, 10]`, atomically."""
    with write_atomically(path) as file:
        np.savez_compressed(
            file,
            targets=test.targets.numpy(),
            preds=test.preds.numpy(),
            scores=test.scores.numpy(),
        )


def table(rows: dict[str, str]) -> list[str]:
    """Lines of names and values, in two columns."""
    return [f"{name:<18} {value}" for name, value in rows.items()]


def test_lines(summary: dict[str, Any]) -> list[str]:
    """The test figures of a run as lines of a table."""
    misses = f"{summary['num_mistakes']} of {summary['num_images']:,}"
    if summary["missed"]:
        misses += f", {summary['missed']} of them not found"
    return table(
        {
            "test accuracy": f"{summary['accuracy']:.4f}",
            "test F1 (macro)": f"{summary['f1']:.4f}",
            "misses": misses,
        }
    )


def _git_commit() -> str | None:
    """The commit of the source tree this package runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
