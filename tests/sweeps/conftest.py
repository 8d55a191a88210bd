"""Short sweeps on synthetic digits, and their tables."""

import csv

import pytest

SHORT = (
    "debug=smoke", "trainer.limit_train_batches=2", "data.val_size=100", "data.batch_size=50",
    "logger=csv", "callbacks=default", "~callbacks.learning_rate", "model.widths=[4]",
)  # fmt: skip


def table_of(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def only_sweep(tmp_path):
    (folder,) = tmp_path.glob("outputs/multirun/*")
    return folder


def figures(folder):
    """Return the table without the column that differs between repetitions."""
    return [{k: v for k, v in row.items() if k != "minutes"} for row in table_of(folder)]


@pytest.fixture
def sweep(digits, run_task):
    """Run a short sweep on synthetic digits in this process."""
    return lambda *args: run_task("-m", *SHORT, *args)
