"""The checkpoint from which a run continues as if it had never been interrupted."""

import os
import random
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Keeps `last.ckpt`: written before the first epoch, and at the end of each.

    Lightning's checkpoint, and the state of the random number generators beside it. A training
    that is resumed from it gives the same weights, to the bit, as one that was not interrupted, on
    the same machine with the same versions and the same number of threads, in one process. An
    interruption costs at most the epoch it fell into.

    Args:
        dirpath: Folder of the file.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="last",
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self._restored: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the generators of a resumed run; saves the starting point of a new one.

        That save also shows, before any work is done, whether the folder can be written to.
        """
        super().on_train_start(trainer, pl_module)
        if self._restored is not None:
            _restore_generators(self._restored)
            self._restored = None
            if trainer.current_epoch > 0:
                # Making the iterator of an epoch draws a random number. Lightning does it after
                # the checkpoint of the epoch before, but in a resumed run before this hook.
                iter(trainer.train_dataloader)  # type: ignore[arg-type]
        else:
            assert self.dirpath is not None
            self._save_checkpoint(trainer, os.path.join(self.dirpath, "last.ckpt"))

    def state_dict(self) -> dict[str, Any]:
        """The state of the callback and of the random number generators."""
        return super().state_dict() | {"generators": _generators()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the generators over, to be set when training starts; the rest is of that file."""
        self._restored = state_dict["generators"]


def _generators() -> dict[str, Any]:
    """States as plain values and tensors, which a checkpoint may hold."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _restore_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
