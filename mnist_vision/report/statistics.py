"""The statistics of a comparison: pure functions of numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Of intervals; what is left of it is the level of the tests.
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """From `low` to `high`, inclusive."""

    low: float
    high: float


class McNemar(NamedTuple):
    """Two classifiers on the same images.

    Args:
        first_only: Images that the first alone gets right.
        second_only: Images that the second alone gets right.
        p_value: How probable a split at least as uneven is, if neither is better.
    """

    first_only: int
    second_only: int
    p_value: float


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of one or more values."""
    return float(np.mean(values))


def standard_deviation(values: Sequence[float]) -> float | None:
    """That of the population a sample is from (n - 1); None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def mean_interval(shares: Sequence[float]) -> Interval:
    """The 95 % interval of the mean of two or more shares, by Student's t distribution.

    Cut off at 0 and 1, beyond which no share lies.
    """
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, df=len(shares) - 1) * error)
    return Interval(max(mean(shares) - reach, 0.0), min(mean(shares) + reach, 1.0))


def proportion_interval(num_hits: int, num_trials: int) -> Interval:
    """The 95 % interval of a probability, by Wilson's score method."""
    result = stats.binomtest(num_hits, num_trials)
    interval = result.proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """McNemar's exact test: the images that only one gets right, as throws of a fair coin.

    Args:
        first: `[N]`, whether the first classifier is right, image by image.
        second: The same of the second.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12 (1947).
    """
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    num_throws = first_only + second_only
    p_value = float(stats.binomtest(first_only, num_throws).pvalue) if num_throws else 1.0
    return McNemar(first_only, second_only, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values that hold for a whole family of tests, in the order given.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(np.asarray(p_values)[order] * factors).clip(max=1)
    adjusted = np.empty(len(order))
    adjusted[order] = stepped
    return [float(p_value) for p_value in adjusted]
