"""The records of temperature scaling and of the calibration that it gives."""

from typing import Annotated

from pydantic import Field

from mnist_vision.common.checks import NonNegative, Share
from mnist_vision.runs.base_record import Record

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
Temperature = Annotated[float, Field(ge=LOWEST_TEMPERATURE, le=HIGHEST_TEMPERATURE)]


class TemperatureScaling(Record):
    """What turns the scores of a network into calibrated confidences; fit on validation images.

    Args:
        temperature: It divides the scores.
        threshold: The lowest confidence from which on at most 0.1 % of the predictions are wrong;
            None if there is none.
    """

    temperature: Temperature
    threshold: Share | None = None


class Estimate(Record):
    """A figure of a sample, and its 95 % interval.

    The interval of a calibration error may lie above its value, as resampling adds noise.
    """

    value: NonNegative
    low: NonNegative
    high: NonNegative


class CalibrationFigures(Record):
    """How well confidences agree with what is right; 0 is best.

    Args:
        nll: Mean negative log-likelihood of the right class, in nats.
        brier: Mean squared error of the ten probabilities, summed over classes: 0 to 2.
        ece: Expected calibration error: the mean difference, over 15 bins of confidence, between
            confidence and accuracy.
    """

    nll: Estimate
    brier: Estimate
    ece: Estimate


class Calibration(TemperatureScaling):
    """Calibration of a network on test digits, before and after temperature scaling.

    Args:
        before: Of the probabilities without a temperature.
        after: Of the calibrated probabilities.
        coverage: The share of digits whose calibrated confidence reaches the threshold.
        accepted_error: The share of mistakes among these; None if there are none.
    """

    before: CalibrationFigures
    after: CalibrationFigures
    coverage: Share
    accepted_error: Share | None
