"""Keep the checkpoint of the best validation accuracy."""

import logging
import shutil
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from mnist_vision.common.files import shown, write_atomically
from mnist_vision.runs.directory import find_checkpoint
from mnist_vision.training.checkpoints import read_checkpoint

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Keep `best.ckpt`: the first epoch of the highest validation accuracy.

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
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self._resumed_from: Path | None = None

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember which file the run is resumed from."""
        self._resumed_from = find_checkpoint(str(trainer.ckpt_path))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and the file of the best checkpoint."""
        if state_dict["best_model_path"]:
            assert self.dirpath is not None
            here, there = Path(self.dirpath) / "best.ckpt", Path(state_dict["best_model_path"])
            score = state_dict["best_model_score"]
            is_here = self._is_best(here, score)
            if not is_here and not self._is_best(there, score):
                assert self._resumed_from is not None
                there, score = self._resumed_from, state_dict["current_score"]
                log.warning(
                    f"{state_dict['best_model_path']}: is missing, or not this run's best; "
                    f"using {shown(there)} instead (validation accuracy {score:.4f})"
                )
            if not is_here:
                with there.open("rb") as source, write_atomically(here) as target:
                    shutil.copyfileobj(source, target)
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": str(here),
                "best_model_score": score,
                "kth_best_model_path": str(here),
                "kth_value": score,
                "best_k_models": {str(here): score},
            }
        super().load_state_dict(state_dict)

    def _is_best(self, path: Path, score: Tensor) -> bool:
        """Test whether the file holds the checkpoint with this score."""
        if not path.exists():
            return False
        held = read_checkpoint(path).get("callbacks", {}).get(self.state_key, {})
        return bool(held.get("best_model_score") == score)
