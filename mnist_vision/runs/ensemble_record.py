"""The record of `ensemble.json`: probabilities averaged over networks, or over shifts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mnist_vision.common.checks import NonNegative, NonNegativeInt, Share
from mnist_vision.runs.base_record import FileRecord, Record
from mnist_vision.runs.calibration_record import Calibration
from mnist_vision.runs.file_names import ENSEMBLE_FILE
from mnist_vision.runs.record import Name, TestFigures


class EnsembleMember(Record):
    """A member of an ensemble, and its accuracy alone.

    Args:
        ckpt_path: Its checkpoint.
        architecture: Name of the architecture.
        seed: The seed of its run.
        val_accuracy: On the validation images that all members share.
        test_accuracy: On all test images.
    """

    ckpt_path: Name
    architecture: Name
    seed: NonNegativeInt
    val_accuracy: Share
    test_accuracy: Share


class MemberComparison(Record):
    """McNemar's exact test of an ensemble against one of its members.

    Args:
        ensemble_only: Number of test digits that only the ensemble reads correctly.
        member_only: Number of test digits that only the member reads correctly.
        p_value: Probability of a split at least as uneven if both are equally good.
    """

    ensemble_only: NonNegativeInt
    member_only: NonNegativeInt
    p_value: Share


class Ensemble(FileRecord):
    """The figures of probabilities that are averaged over networks, or over shifts of the image.

    Args:
        version: Of this layout.
        members: Its members by validation accuracy, the best one first.
        shift: The largest shift along each axis, in pixels, that each member averages over.
        val_accuracy: Of the ensemble, on the validation images that all members share.
        test: Figures of the ensemble on all test images.
        calibration: Of its probabilities, with the temperature that validation images gave.
        best_member: The comparison with the first member, which reads each image once.
        seconds: Times of the passes over validation and test images.
    """

    FILE: ClassVar[str] = ENSEMBLE_FILE

    version: Literal[1] = 1
    members: Annotated[list[EnsembleMember], Field(min_length=1)]
    shift: NonNegativeInt = 0
    val_accuracy: Share
    test: TestFigures
    calibration: Calibration
    best_member: MemberComparison
    seconds: dict[str, NonNegative]
