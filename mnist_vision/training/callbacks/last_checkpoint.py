"""Keep the checkpoint from which an interrupted run resumes with identical results."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from mnist_vision.common.files import write_atomically
from mnist_vision.runs.directory import find_checkpoint
from mnist_vision.training.ending import reached_limit


class LastCheckpoint(ModelCheckpoint):
    """Keep `last.ckpt`, written before the first epoch and after each whole epoch.

    It is Lightning's checkpoint with the state of the random number generators. A run that is
    resumed from it gets the same weights, to the bit, as one that was not interrupted, in one
    process on the same machine with the same versions and number of threads. An interruption costs
    at most one epoch.

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
        self._is_stopped = False  # by a callback, so that a resumed run does not train on

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Copy the checkpoint that the run is resumed from, if this directory has none."""
        assert self.dirpath is not None
        target = Path(self.dirpath) / "last.ckpt"
        if trainer.is_global_zero and not target.exists():
            source = find_checkpoint(str(trainer.ckpt_path))
            with source.open("rb") as old, write_atomically(target) as new:
                shutil.copyfileobj(old, new)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the generators of a resumed run, or save the start of a new one.

        The save also shows, before any work is done, whether the folder can be written to.
        """
        super().on_train_start(trainer, pl_module)
        trainer.should_stop = trainer.should_stop or self._is_stopped
        if self._restored is not None:
            _restore_generators(self._restored)
            self._restored = None
            if trainer.current_epoch > 0:
                # Making the iterator of an epoch draws a random number. Lightning makes it after
                # the checkpoint of the last epoch, but in a resumed run before this hook.
                iter(trainer.train_dataloader)  # type: ignore[arg-type]
        else:
            assert self.dirpath is not None
            self._save_checkpoint(trainer, os.path.join(self.dirpath, "last.ckpt"))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a whole epoch. Training cannot go on within one: the order of its images is lost."""
        if trainer.fit_loop.batch_idx + 1 >= trainer.num_training_batches:
            # A limit may be raised when the run is resumed.
            self._is_stopped = trainer.should_stop and reached_limit(trainer) is None
            super().on_train_epoch_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the callback and of the random number generators."""
        own = {"generators": _generators(), "is_stopped": self._is_stopped}
        return super().state_dict() | own

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the generators, which are set when training starts."""
        self._restored = state_dict["generators"]
        self._is_stopped = state_dict.get("is_stopped", False)  # earlier versions lack it


def _generators() -> dict[str, Any]:
    """Get the states as plain values and tensors, which a checkpoint may hold."""
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
