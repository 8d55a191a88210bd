"""The ranges of settings that would be checked late, after torch is imported, or not at all.

The other classes of this package check their own arguments.
"""

from typing import Annotated, Any, Literal

from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import Field

from mnist_vision.common.checks import Count, NonNegative, Positive, Share, check
from mnist_vision.common.errors import FieldError

# Days, hours, minutes and seconds.
MaxTime = Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d:\d\d$", examples=["00:01:30:00"])]

LIMITS: dict[str, Any] = {
    "compile": bool,
    "overwrite": bool,
    "seed": Annotated[int, Field(ge=0, le=2**32 - 1)],
    "suite": Literal["corruptions"] | None,
    "test": bool,
    "data.batch_size": Count,
    "data.eval_batch_size": Count | None,  # null: evaluate takes the run's
    "optimizer.lr": Positive,
    "optimizer.weight_decay": NonNegative,
    "optimizer.momentum": Share,
    "trainer.max_epochs": Count,
    "trainer.max_steps": Literal[-1] | Count,
    "trainer.max_time": MaxTime | None,
    "trainer.min_epochs": Count | None,
    "trainer.min_steps": Count | None,
    "trainer.check_val_every_n_epoch": Count | None,
    "trainer.val_check_interval": Positive | None,
    # A sanity check uses random numbers: a resumed run, which has none, would differ.
    "trainer.num_sanity_val_steps": Literal[0],
    "trainer.log_every_n_steps": Count,
    "trainer.accumulate_grad_batches": Count,
    "trainer.gradient_clip_val": NonNegative | None,
    "trainer.gradient_clip_algorithm": Literal["norm", "value"] | None,
    # Processes of other strategies hold parts of the network, or do not bring it back.
    "trainer.strategy": Literal["auto", "ddp", "ddp_find_unused_parameters_true"],
    # Each node would need the lock and the files of the run.
    "trainer.num_nodes": Literal[1],
    # Images, weights and averaged weights must stay float32.
    "trainer.precision": Literal["auto", "32-true", "bf16-mixed", "16-mixed"],
    # A share of the batches, or their number.
    "trainer.limit_train_batches": Positive,
    "trainer.limit_val_batches": Positive,
    "trainer.detect_anomaly": bool,
    "trainer.inference_mode": bool,
    "trainer.benchmark": bool | None,
    "trainer.deterministic": bool | Literal["warn"] | None,
}
# Settings of single commands; those of one name may differ.
LIMITS_OF_COMMANDS: dict[str, dict[str, Any]] = {
    "benchmark": {"precision": Literal["32-true", "bf16-mixed"], "repeats": Count},
    "evaluate": {
        "ckpt_path": str | list[str],
        "members": Annotated[int, Field(ge=2)] | None,
        # Larger shifts would cut off parts of many digits.
        "shift": Annotated[int, Field(ge=0, le=3)],
    },
    "export": {
        "ckpt_path": str,
        "output": str | None,
        "format": Literal["onnx", "pt2"],
        "precision": Literal["float32", "int8"],
    },
    "predict": {"digits": Literal["one", "many"], "show": bool, "explain": bool},
    "serve": {"port": Annotated[int, Field(ge=1, le=65535)]},
}


def check_limits(config: DictConfig, command: str = "train") -> None:
    """Check those settings of `LIMITS` that the configuration has.

    Args:
        config: The composed configuration.
        command: Name of the command, for `LIMITS_OF_COMMANDS`.

    Raises:
        FieldError: Naming the first setting that is out of range, its value and the range.
    """
    # `sweep` is not a group: sweep=NAME would replace all settings of sweeps.
    if not isinstance(config.get("sweep", config), DictConfig):
        problem = "is not a group; set sweep.resume=true to resume, or search=NAME to search"
        raise FieldError("sweep", config.sweep, problem)
    for key, allowed in (LIMITS | LIMITS_OF_COMMANDS.get(command, {})).items():
        group, _, name = key.rpartition(".")
        holder = OmegaConf.select(config, group) if group else config
        if holder is not None and name in holder:
            value = OmegaConf.select(config, key)
            check(key, list(value) if isinstance(value, ListConfig) else value, allowed)
