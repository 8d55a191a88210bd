"""The statistics of a comparison: pure functions of numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# Confidence level of intervals; the significance level of tests is 1 - CONFIDENCE.
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """From `low` to `high`, inclusive."""

    low: float
    high: float


class McNemar(NamedTuple):
    """The result of McNemar's test of two classifiers on the same images.

    Args:
        first_only: Number of images that only the first classifies correctly.
        second_only: Number of images that only the second classifies correctly.
        p_value: Probability of a split at least as uneven if both are equally good.
    """

    first_only: int
    second_only: int
    p_value: float


def mean_interval(shares: Sequence[float]) -> Interval:
    """Compute the 95 % interval of the mean of two or more shares by Student's t distribution.

    It is cut off at 0 and 1.
    """
    mean, quantile = np.mean(shares), stats.t.ppf((1 + CONFIDENCE) / 2, df=len(shares) - 1)
    reach = quantile * stats.sem(shares)
    return Interval(float(max(mean - reach, 0)), float(min(mean + reach, 1)))


def proportion_interval(num_hits: int, num_trials: int) -> Interval:
    """Compute the 95 % interval of a probability by Wilson's score method."""
    result = stats.binomtest(num_hits, num_trials)
    interval = result.proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Run McNemar's exact test: a binomial test on the images that only one classifies correctly.

    Args:
        first: `[N]`, whether the first classifier is correct, image by image.
        second: The same for the second.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12 (1947).
    """
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    num_images = first_only + second_only
    p_value = float(stats.binomtest(first_only, num_images).pvalue) if num_images else 1.0
    return McNemar(first_only, second_only, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for multiple comparisons by Holm's method; keep their order.

    SciPy corrects the false discovery rate, which is a weaker promise.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(np.asarray(p_values)[order] * factors).clip(max=1)
    adjusted = np.empty(len(order))
    adjusted[order] = stepped
    return [float(p_value) for p_value in adjusted]
