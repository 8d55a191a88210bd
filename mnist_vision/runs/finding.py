"""Find completed runs below a folder. Imports no torch."""

import os
from pathlib import Path

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import TrainingResults


def best_runs(folder: Path) -> dict[str, RunDirectory]:
    """Find the run of each architecture with the best validation accuracy.

    A run counts if its best checkpoint is there, and if it validated on all validation images,
    unlike runs of `debug=smoke` and `debug=overfit`.

    Args:
        folder: The folder that runs lie in, at any depth.

    Returns:
        Runs by architecture, the best one first.

    Raises:
        UserError: If there is none.
    """
    best: dict[str, RunDirectory] = {}
    for results, directory in rank_runs(folder):
        best.setdefault(results.architecture, directory)
    if not best:
        raise UserError(
            f"{shown(folder)}: no completed run in it; train one with python -m "
            "mnist_vision.train, or name a checkpoint with ckpt_path=FILE"
        )
    return best


def rank_runs(folder: Path) -> list[tuple[TrainingResults, RunDirectory]]:
    """Find the completed runs that `best_runs` chooses from.

    Args:
        folder: The folder that runs lie in, at any depth.

    Returns:
        Runs by validation accuracy, the best one first; equal ones by their paths.
    """
    found = []
    for name, _, _ in sorted(os.walk(folder)):
        directory = RunDirectory(name)
        if not directory.is_complete or not directory.best_checkpoint.exists():
            continue
        results = directory.find_results()
        if results is not None and _is_validated(results):
            found.append((results, directory))
    return sorted(found, key=lambda each: each[0].best.val_accuracy, reverse=True)


def _is_validated(results: TrainingResults) -> bool:
    trainer = (results.settings or {}).get("trainer")
    if not isinstance(trainer, dict):  # of the first version, or damaged
        return trainer is None
    limit = trainer.get("limit_val_batches")  # 1 is one batch, and 1.0 is all of them
    is_all = limit is None or (isinstance(limit, float) and limit == 1.0)
    return is_all and not trainer.get("overfit_batches")
