"""Ensembles: the mean of the probabilities of several networks.

Source: B. Lakshminarayanan, A. Pritzel and C. Blundell, "Simple and Scalable Predictive Uncertainty
Estimation using Deep Ensembles", 2017, https://arxiv.org/abs/1612.01474.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mnist_vision.data.constants import MISSED, NUM_CLASSES
from mnist_vision.data.label_errors import accuracy_without_label_errors
from mnist_vision.evaluation.calibration import fit_scaling, measure_calibration
from mnist_vision.evaluation.statistics import mcnemar
from mnist_vision.models.classifier import DigitClassifier, DigitF1, predict
from mnist_vision.runs.calibration_record import Calibration
from mnist_vision.runs.ensemble_record import MemberComparison
from mnist_vision.runs.predictions import Predictions
from mnist_vision.runs.record import TestFigures


@dataclass(frozen=True)
class Answers:
    """The predictions of a network, or of an ensemble, on a set of digits.

    Args:
        targets: `Tensor[N]` int64 in 0..9.
        predictions: `Tensor[N]` int64 in 0..9, or `MISSED`.
        probabilities: `Tensor[N, 10]` float64; those of a missed digit are equal.
    """

    targets: Tensor
    predictions: Tensor
    probabilities: Tensor

    @classmethod
    def of(cls, model: DigitClassifier, scores: Tensor, targets: Tensor) -> "Answers":
        """Read the scores of a network as predictions and calibrated probabilities.

        Args:
            model: The network.
            scores: `Tensor[N, 10]` float32.
            targets: `Tensor[N]` int64 in 0..9.
        """
        return cls(targets, predict(scores), model.probabilities(scores.double()))

    @property
    def is_right(self) -> Tensor:
        """`Tensor[N]` bool: whether the prediction is the target."""
        return self.predictions == self.targets

    @cached_property
    def accuracy(self) -> float:
        """The share of digits whose prediction is right."""
        return round(self.is_right.double().mean().item(), 6)

    def figures(self) -> TestFigures:
        """Compute the figures of a test, as that of a single network does."""
        is_missed = self.predictions == MISSED
        f1 = DigitF1()(self.predictions.masked_fill(is_missed, NUM_CLASSES), self.targets)
        metrics: dict[str, Any] = {"accuracy": self.accuracy, "f1": round(f1.item(), 6)}
        return TestFigures(
            **metrics,
            accuracy_without_label_errors=accuracy_without_label_errors(
                self.targets.numpy(), self.predictions.numpy()
            ),
            num_images=len(self.targets),
            num_mistakes=int((~self.is_right).sum()),
            missed=int(is_missed.sum()),
        )

    def to_record(self) -> Predictions:
        """Return arrays for the run directory; the scores are the logarithms of probabilities."""
        scores = self.probabilities.log().float()
        scores[self.predictions == MISSED] = -torch.inf
        return Predictions(self.targets.numpy(), self.predictions.numpy(), scores.numpy())


def average(members: Sequence[Answers]) -> Answers:
    """Average the probabilities of members; the prediction is the most probable digit.

    A digit that a member misses adds equal probabilities to the mean. One that all members miss is
    missed.

    Args:
        members: Answers of at least one network to the same digits.
    """
    probabilities = torch.stack([member.probabilities for member in members]).mean(dim=0)
    missed_by_all = torch.stack([member.predictions == MISSED for member in members]).all(dim=0)
    predictions = probabilities.argmax(dim=1).masked_fill(missed_by_all, MISSED)
    return Answers(members[0].targets, predictions, probabilities)


def calibrate(validation: Answers, test: Answers) -> Calibration:
    """Fit temperature and threshold to validation images, and measure them on test images."""
    scaling = fit_scaling(validation.probabilities, validation.targets)
    return measure_calibration(
        test.probabilities, test.targets, scaling.temperature, scaling.threshold
    )


def compare(ensemble: Answers, member: Answers) -> MemberComparison:
    """Run McNemar's exact test of an ensemble against a member, on the same digits."""
    outcome = mcnemar(ensemble.is_right.numpy(), member.is_right.numpy())
    return MemberComparison(
        ensemble_only=outcome.first_only,
        member_only=outcome.second_only,
        p_value=min(outcome.p_value, 1.0),
    )
