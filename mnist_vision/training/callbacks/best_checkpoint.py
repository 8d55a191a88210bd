"""Keep the checkpoint of the best validation accuracy."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import shown, write_atomically
from mnist_vision.runs.directory import find_checkpoint
from mnist_vision.training.checkpoints import history_rows, read_checkpoint

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Keep `best.ckpt`: the weights of the highest validation accuracy, the first of equal ones.

    It is written at the validation, so that it holds the weights that were measured. Its last row
    of history is that of the validation.

    If a run is resumed in another directory, its best checkpoint is copied there; Lightning's own
    callback would forget its score and replace it. If the best checkpoint is missing, the one that
    the run is resumed from takes its place, with its own score.

    Args:
        dirpath: Folder of the file.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor="val/accuracy",
            mode="max",
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self._resumed_from: Path | None = None
        self._resumed_score: float | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best so far."""
        # Lightning keeps one checkpoint a step, but a callback may average the weights after it.
        self._last_global_step_saved = -1
        super().on_validation_end(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember which file the run is resumed from, and its validation accuracy, if any."""
        self._resumed_from = find_checkpoint(str(trainer.ckpt_path))
        rows = history_rows(checkpoint)
        self._resumed_score = rows[-1].get("val/accuracy") if rows else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and the file of the best checkpoint."""
        if not state_dict["best_model_path"]:  # the run stopped before its first validation
            return
        assert self.dirpath is not None
        here, there = Path(self.dirpath) / "best.ckpt", Path(state_dict["best_model_path"])
        score = state_dict["best_model_score"]
        is_here = _is_best(here, self.state_key, score)
        if not is_here and not _is_best(there, self.state_key, score):
            missing = f"{shown(there)}: is missing, damaged or not this run's best"
            if self._resumed_score is None:
                log.warning("%s; the best from here on will be kept", missing)
                return
            assert self._resumed_from is not None
            there, score = self._resumed_from, torch.tensor(self._resumed_score)
            log.warning(
                f"{missing}; using {shown(there)} instead (validation accuracy {score:.4f})"
            )
        if not is_here:
            with there.open("rb") as source, write_atomically(here) as target:
                shutil.copyfileobj(source, target)
        super().load_state_dict(
            state_dict
            | {
                "dirpath": self.dirpath,
                "best_model_path": str(here),
                "best_model_score": score,
                "kth_best_model_path": str(here),
                "kth_value": score,
                "best_k_models": {str(here): score},
            }
        )


def _is_best(path: Path, state_key: str, score: torch.Tensor) -> bool:
    """Test whether the file holds the checkpoint with this score."""
    try:
        held = read_checkpoint(path).get("callbacks", {}).get(state_key, {})
    except UserError:  # missing or damaged
        return False
    return bool(held.get("best_model_score") == score)
