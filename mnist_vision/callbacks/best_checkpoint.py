"""The checkpoint that validation chooses, and that is tested."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from mnist_vision.errors import UserError
from mnist_vision.files import write_atomically


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`: the first epoch of the highest validation accuracy.

    Where a run is resumed in another directory than it was started in, its best checkpoint comes
    along; Lightning's own would forget how good that was and replace it with the next one.

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the state over, and the file with it.

        Raises:
            UserError: If the best checkpoint so far is gone.
        """
        if state_dict["best_model_path"]:
            assert self.dirpath is not None
            here = Path(self.dirpath) / "best.ckpt"
            _bring(Path(state_dict["best_model_path"]), here)
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": str(here),
                "kth_best_model_path": str(here),
                "best_k_models": {str(here): state_dict["best_model_score"]},
            }
        super().load_state_dict(state_dict)


def _bring(there: Path, here: Path) -> None:
    if here.exists():
        return
    if not there.exists():
        raise UserError(
            f"{there}: the run's best checkpoint is gone; put it back, or into {here.parent}"
        )
    with there.open("rb") as source, write_atomically(here) as target:
        shutil.copyfileobj(source, target)
