"""The records of a run as types: results, evaluation of a checkpoint, job of a sweep, settings.

`VERSION` is that of `results.json` and `training.json`. Version 1, which did not name the best
epoch, and version 2, which had no steps, can still be read.
"""

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from mnist_vision.common.checks import Count, NonNegative, NonNegativeInt, Share
from mnist_vision.runs.base_record import FileRecord, Record
from mnist_vision.runs.calibration_record import Calibration
from mnist_vision.runs.file_names import EVALUATION_FILE, JOB_FILE, RESULTS_FILE, TRAINING_FILE
from mnist_vision.runs.old_names import rename_choices, rename_settings

VERSION: Literal[3] = 3

Name = Annotated[str, Field(min_length=1)]
# Epochs trained; 0.5 is half of the first one.
Epochs = Annotated[int | float, Field(gt=0)]


class TrainFigures(Record):
    """Loss of the last epoch, and accuracy on the fixed sample of training images after it."""

    loss: NonNegative
    accuracy: Share


class TestFigures(Record):
    """Metrics by their short names, and numbers of digits.

    `num_images` digits were tested. The predictions of `num_mistakes` are wrong; among these the
    network found nothing in `missed`. `accuracy_without_label_errors` leaves out the test digits of
    MNIST whose label is known to be wrong; None for other digits. A detector adds metrics.
    """

    __test__ = False  # pytest would take it for a test
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, NonNegative]

    accuracy: Share
    f1: Share
    num_images: Count
    num_mistakes: NonNegativeInt
    missed: NonNegativeInt = 0
    accuracy_without_label_errors: Share | None = None


class TrainingSeconds(Record):
    """Time of training with validation."""

    fit: NonNegative


class Seconds(TrainingSeconds):
    """Time of training with validation, and of the test."""

    test: NonNegative


class BestEpoch(Record):
    """The moment whose weights validation chose, and their validation accuracy.

    Args:
        epoch: Epochs trained until then.
        step: Optimizer steps until then; None in results of earlier versions.
        val_accuracy: The highest validation accuracy.
    """

    epoch: Epochs
    step: Count | None = None
    val_accuracy: Share


class TrainingResults(FileRecord):
    """The results of a completed run with `test=false`: `training.json`.

    Args:
        version: Of this layout.
        architecture: Name of the architecture.
        status: Only a completed run has results.
        seed: The run's seed.
        epochs: Epochs trained.
        ended_by: What ended training: a setting and its value, or the reason of a callback; None
            in results of earlier versions.
        num_parameters: Number of weights.
        num_trainable_parameters: Number of trained weights.
        weights: The weights that training started from, if the architecture has a choice.
        history: A row for each validation and the end of each epoch: `epoch`, `step` and `seconds`
            so far, and by log key the metrics that were measured then.
        best: The moment whose weights are kept, and tested.
        train: Figures of the last epoch.
        seconds: Times.
        environment: Versions, device and commit.
        overrides: The overrides of the command line.
        settings: `runs.settings.figure_settings`; None in results of the first version.
    """

    FILE: ClassVar[str] = TRAINING_FILE

    version: Literal[1, 2, 3] = VERSION
    architecture: Name
    status: Literal["completed"] = "completed"
    seed: NonNegativeInt
    epochs: Epochs
    ended_by: Name | None = None
    num_parameters: NonNegativeInt
    num_trainable_parameters: NonNegativeInt
    weights: Name | None = None
    history: Annotated[list[dict[str, float]], Field(min_length=1)]
    best: BestEpoch
    train: TrainFigures
    seconds: TrainingSeconds
    environment: dict[str, Any]
    overrides: list[str] = Field([])
    settings: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_version_1(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("version") != 1:
            return content
        rows = content.get("history")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return content | {"version": VERSION}
        accuracies = [row.get("val/accuracy") for row in rows]
        numbers = [value for value in accuracies if isinstance(value, float | int)]
        best = max(numbers, default=None)
        chosen = {"epoch": accuracies.index(best) + 1, "val_accuracy": best} if numbers else None
        return content | {"version": VERSION, "best": chosen}

    @field_validator("settings")
    @classmethod
    def _rename_settings(cls, settings: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if settings is None else rename_settings(settings)

    @field_validator("history")
    @classmethod
    def _check_rows(cls, history: list[dict[str, float]]) -> list[dict[str, float]]:
        for key, highest in _METRICS.items():
            values = {number: row[key] for number, row in enumerate(history, 1) if key in row}
            if not values:
                raise ValueError(f"no row has {key}")
            for number, value in values.items():
                if not 0 <= value <= highest:
                    raise ValueError(f"row {number}: {key}={value} must be in [0, {highest}]")
        return history


# Metrics that each history has, and their highest values.
_METRICS = {"epoch": math.inf, "train/loss": math.inf, "train/accuracy": 1, "val/accuracy": 1}


class Results(TrainingResults):
    """The results of a completed run that was tested: `results.json`.

    Args:
        test: Figures of the checkpoint of the best epoch on all test images.
        calibration: Of its confidences on these images; None in results of earlier versions.
    """

    FILE: ClassVar[str] = RESULTS_FILE

    test: TestFigures
    calibration: Calibration | None = None
    seconds: Seconds


class Evaluation(FileRecord):
    """The figures of a checkpoint on the test images: `evaluation.json`."""

    FILE: ClassVar[str] = EVALUATION_FILE

    version: Literal[1] = 1
    architecture: Name
    ckpt_path: Name
    test: TestFigures
    calibration: Calibration | None = None
    seconds: dict[str, NonNegative]


class Job(FileRecord):
    """A job of a sweep, from its start on: `job.json`.

    Args:
        version: Of this layout.
        number: Its number in the sweep.
        model: The architecture it trains; None for a command that trains nothing.
        overrides: Its overrides.
        requests: All lists of overrides that led to the same settings.
        status: State of the job. It stays "running" if the sweep was killed.
        reason: Why it failed or stopped.
        seconds: Time it took; None before it ends.
    """

    FILE: ClassVar[str] = JOB_FILE

    version: Literal[1] = 1
    number: NonNegativeInt
    model: Name | None = None
    overrides: list[str]
    requests: list[list[str]] = Field([])
    status: Literal["running", "completed", "failed", "stopped"]
    reason: str | None = None
    seconds: NonNegative | None = None


class RunSettings(Record):
    """The settings of a run, as each of its checkpoints carries them.

    Args:
        version: Of this layout.
        settings: `runs.settings.run_settings`: plain values by group.
        choices: The option that was chosen of each group of the configuration.
        overrides: The overrides of the command line.
    """

    version: Literal[1] = 1
    settings: dict[str, Any]
    choices: Annotated[dict[str, Any], AfterValidator(rename_choices)] = Field({})
    overrides: list[str] = Field([])

    @field_validator("settings")
    @classmethod
    def _check_settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        # Hydra would take these for its own, logging with its classes among them.
        reserved = {"hydra", "defaults"} & settings.keys()
        if reserved:
            raise ValueError(f"{reserved.pop()} is not a setting of a run")
        for group in ("data", "model", "optimizer", "scheduler", "trainer", "callbacks"):
            if not isinstance(settings.get(group), dict):
                raise ValueError(f"{group} is not a group of settings")
        return rename_settings(settings)
