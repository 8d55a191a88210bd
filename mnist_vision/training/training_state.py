"""The contents of a checkpoint as types: the network and the state of training."""

import random
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor

from mnist_vision.common.checks import NonNegative, NonNegativeInt, Share
from mnist_vision.common.errors import UserError
from mnist_vision.runs.base_record import Record
from mnist_vision.runs.calibration_record import TemperatureScaling

Item = TypeVar("Item")


def _single(items: list[Item]) -> list[Item]:
    if len(items) != 1:
        raise ValueError(f"must hold one state, holds {len(items)}")
    return items


def _one_value(value: Tensor) -> Tensor:
    if value.numel() != 1:
        raise ValueError("must be a tensor of one value")
    return value


Scalar = Annotated[Tensor, AfterValidator(_one_value)]
# As Python packages are numbered.
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)*$")]


class _Record(Record):
    """A record that may hold tensors."""

    model_config = ConfigDict(arbitrary_types_allowed=True)


class Network(_Record):
    """The part of a checkpoint that a network is rebuilt from.

    Args:
        architecture: Name of the architecture.
        hyper_parameters: Arguments of its constructor.
        state_dict: Its weights.
        calibration: Of the network that validation chose, once training has ended.
    """

    architecture: Annotated[str, Field(min_length=1, max_length=100)]
    hyper_parameters: dict[str, Any]
    state_dict: dict[str, Any]
    calibration: TemperatureScaling | None = None


class _Counts(Record):
    """How often something began and ended."""

    ready: NonNegativeInt
    completed: NonNegativeInt


class _EpochCounts(_Counts):
    """Those of epochs; an epoch is ready, started, processed and completed, in this order."""

    started: NonNegativeInt
    processed: NonNegativeInt

    @field_validator("processed")
    @classmethod
    def _check_order(cls, processed: int, info: ValidationInfo) -> int:
        ready, started, completed = map(info.data.get, ("ready", "started", "completed"))
        if ready != started or started not in (processed, processed + 1):
            raise ValueError(f"must be that of ready={ready} and started={started}, or one less")
        if completed not in (processed, processed - 1):
            raise ValueError(f"must be completed={completed}, or one more")
        return processed


class _Progress(Record):
    total: _Counts
    current: _Counts


class _EpochProgress(Record):
    total: _Counts
    current: _EpochCounts


class _OptimizerProgress(Record):
    step: _Progress
    zero_grad: _Progress


class _Optimizers(Record):
    optimizer: _OptimizerProgress


class _FitLoop(Record):
    """How far training has come, by the names of Lightning's loops."""

    batches_state: dict[str, NonNegativeInt] = Field(alias="epoch_loop.state_dict")

    epochs: _EpochProgress = Field(alias="epoch_progress")
    batches: _Progress = Field(alias="epoch_loop.batch_progress")
    schedules: _Progress = Field(alias="epoch_loop.scheduler_progress")
    optimizers: _Optimizers = Field(alias="epoch_loop.automatic_optimization.optim_progress")
    validation: _Progress = Field(alias="epoch_loop.val_loop.batch_progress")


class _Loops(Record):
    fit_loop: _FitLoop


class _ParameterGroup(Record):
    params: list[NonNegativeInt]


class _OptimizerState(Record):
    state: dict[int, dict[str, Any]]
    param_groups: list[_ParameterGroup]

    @field_validator("param_groups")
    @classmethod
    def _check_numbers(cls, groups: list[_ParameterGroup]) -> list[_ParameterGroup]:
        numbers = [number for group in groups for number in group.params]
        if numbers != list(range(len(numbers))):
            raise ValueError("must number all weights in their order")
        return groups


class _SchedulerState(Record):
    """Not every schedule keeps rates; `check_resumable` wants those that this one keeps."""

    last_epoch: NonNegativeInt
    base_lrs: list[NonNegative] = Field([])
    last_lr: list[NonNegative] = Field([], alias="_last_lr")


class _Row(Record):
    """What was measured at a step; all its metrics are numbers."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    epoch: NonNegative
    seconds: NonNegative
    loss: NonNegative = Field(0, alias="train/loss")
    train_accuracy: Share = Field(0, alias="train/accuracy")
    val_accuracy: Share = Field(0, alias="val/accuracy")


class _History(Record):
    rows: list[_Row]
    seconds: NonNegative

    def covers(self, num_epochs: int) -> bool:
        """Test whether the rows reach as far as training, and hold its loss."""
        if not num_epochs:
            return True
        has_loss = any("loss" in row.model_fields_set for row in self.rows)
        return has_loss and self.rows[-1].epoch > num_epochs - 1


class _Generators(_Record):
    python: tuple[Any, ...]
    numpy: tuple[Any, ...]
    torch: Tensor
    cuda: Tensor | None

    @field_validator("python", "numpy", "torch")
    @classmethod
    def _try(cls, state: Any, info: ValidationInfo) -> Any:
        """Set a generator that nothing else uses."""
        try:
            if info.field_name == "python":
                random.Random().setstate(state)
            elif info.field_name == "numpy":
                name, keys, *rest = state
                np.random.RandomState().set_state((name, keys.numpy().astype(np.uint32), *rest))
            else:
                torch.Generator().set_state(state)
        except Exception as error:  # of any kind, as the state may be anything
            raise ValueError("must be the state of a random number generator") from error
        return state


class _LastCheckpoint(Record):
    generators: _Generators


class _BestCheckpoint(_Record):
    best_model_path: str
    best_model_score: Scalar | None
    current_score: Scalar | None
    kth_best_model_path: str
    kth_value: Scalar | None
    best_k_models: dict[str, Scalar]
    last_model_path: str

    # Not of current_score, which Lightning does not restore: it is None in a resumed run until a
    # better validation.
    @field_validator("best_model_score")
    @classmethod
    def _check_score(cls, score: Tensor | None, info: ValidationInfo) -> Tensor | None:
        if score is None and info.data.get("best_model_path"):
            raise ValueError("must be a score, as there is a best_model_path")
        return score


def _check_reason(value: int) -> int:
    # From Python 3.12 on, pydantic cannot tell how many arguments the class itself takes.
    EarlyStoppingReason(value)
    return value


class _EarlyStopping(_Record):
    wait_count: NonNegativeInt
    stopped_epoch: NonNegativeInt
    best_score: Scalar
    patience: NonNegativeInt
    stopping_reason: Annotated[int, AfterValidator(_check_reason)] = 0


# The states of the configured callbacks, by the names of their classes.
_CALLBACKS: dict[str, type[Record]] = {
    "History": _History,
    "LastCheckpoint": _LastCheckpoint,
    "BestCheckpoint": _BestCheckpoint,
    "EarlyStopping": _EarlyStopping,
}


class TrainingState(_Record):
    """The part of a checkpoint that training goes on from.

    Args:
        epoch: Number of the epoch in which it was written, from 0.
        global_step: Optimizer steps taken.
        version: Lightning's.
        loops: The progress of training.
        optimizer_states: The state of the optimizer.
        lr_schedulers: The state of the schedule.
        callbacks: The states of those callbacks that keep one. Lightning's keys begin with the name
            of the class, which may be followed by settings in braces.
        averaging_state: The number of averaged networks, if weights are averaged.
    """

    epoch: NonNegativeInt
    global_step: NonNegativeInt
    version: Version = Field(alias="pytorch-lightning_version")
    loops: _Loops
    optimizer_states: Annotated[list[_OptimizerState], AfterValidator(_single)]
    lr_schedulers: Annotated[list[_SchedulerState], AfterValidator(_single)]
    callbacks: dict[str, dict[str, Any]]
    averaging_state: dict[str, Scalar] | None = None

    @field_validator("loops")
    @classmethod
    def _check_steps(cls, loops: _Loops, info: ValidationInfo) -> _Loops:
        steps = loops.fit_loop.optimizers.optimizer.step.total.completed
        if steps != info.data.get("global_step", steps):
            raise ValueError(f"must count {info.data['global_step']} optimizer steps, not {steps}")
        return loops

    @property
    def num_epochs(self) -> int:
        """Whole epochs trained."""
        return self.loops.fit_loop.epochs.current.processed

    @property
    def is_within_epoch(self) -> bool:
        """Whether an epoch has begun and is not at its end."""
        return self.loops.fit_loop.epochs.current.started > self.num_epochs


def parse_training_state(checkpoint: dict[str, Any], name: str) -> TrainingState:
    """Check the state of training in a checkpoint, that of known callbacks included.

    Args:
        checkpoint: Its contents.
        name: What to call it in an error.

    Raises:
        UserError: Naming the first part that is missing or of the wrong type.
    """
    state = TrainingState.parse(checkpoint, name)
    for key, content in state.callbacks.items():
        callback = key.partition("{")[0]
        if callback not in _CALLBACKS:
            continue
        record = _CALLBACKS[callback].parse(content, f"{name}: callbacks.{callback}")
        if isinstance(record, _History) and not record.covers(state.num_epochs):
            problem = f"the rows of {state.num_epochs} epochs are missing"
            raise UserError(f"{name}: callbacks.{callback}: {problem}")
    return state
