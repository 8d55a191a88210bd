"""The ranges of settings that other libraries take and would reject late, or not at all.

The classes of this package check their own arguments.
"""

from collections.abc import Callable
from functools import partial

from omegaconf import DictConfig, OmegaConf

from mnist_vision.common.errors import FieldError, check_choice, check_flag, check_real, check_whole


def check_sweep(field: str, value: object) -> None:
    """Raises if the settings of sweeps were replaced, as by a choice of what is no group.

    Raises:
        FieldError: Saying how a search is chosen.
    """
    if not isinstance(value, DictConfig):
        raise FieldError(field, value, "left alone: set sweep.resume; search=NAME is a search")


LIMITS: dict[str, Callable[[str, object], None]] = {
    "overwrite": check_flag,
    "sweep": check_sweep,
    "seed": partial(check_whole, low=0, high=2**32 - 1),
    "optimizer.lr": partial(check_real, low=0, open_low=True),
    "optimizer.weight_decay": partial(check_real, low=0),
    "optimizer.momentum": partial(check_real, low=0, high=1),
    "trainer.max_epochs": partial(check_whole, low=1),
    "trainer.log_every_n_steps": partial(check_whole, low=1),
    # Images come in float32, and weights and their averages stay in it.
    "trainer.precision": partial(check_choice, choices=("32-true", "bf16-mixed", "16-mixed")),
    # The benchmark's.
    "precision": partial(check_choice, choices=("32-true", "bf16-mixed")),
    # A share of the batches, or their number.
    "trainer.limit_train_batches": partial(check_real, low=0, open_low=True),
    "trainer.limit_val_batches": partial(check_real, low=0, open_low=True),
}


def check_limits(config: DictConfig) -> None:
    """Checks those settings of `LIMITS` that the configuration has.

    Raises:
        FieldError: Naming the first setting that is out of range, its value and the range.
    """
    for key, check in LIMITS.items():
        group, _, _ = key.rpartition(".")
        holder = OmegaConf.select(config, group) if group else config
        if holder is not None and key.rpartition(".")[2] in holder:
            check(key, OmegaConf.select(config, key))
