"""Calibration of confidences: fit a temperature and a threshold, and measure what they are worth.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", 2017,
https://arxiv.org/abs/1706.04599.
"""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from mnist_vision.data.constants import NUM_CLASSES
from mnist_vision.runs.calibration_record import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Calibration,
    CalibrationFigures,
    Estimate,
    TemperatureScaling,
)

# Bins of confidence, of equal width, of the calibration error and the reliability diagram.
NUM_BINS = 15
# The share of mistakes among the digits whose confidence reaches the threshold.
ACCEPTED_ERROR = 0.001
NUM_RESAMPLES = 1000
_CHUNK = 100  # resamples at once, which bounds the memory
_CONFIDENCE_LEVEL = 0.95
# Lowest probability that counts in the likelihood, as in scikit-learn: a 0 would make it infinite.
_LOWEST_PROBABILITY = torch.finfo(torch.float64).eps


def apply_temperature(probabilities: Tensor, temperature: float) -> Tensor:
    """Flatten (temperature above 1) or sharpen (below 1) probabilities `[N, 10]`.

    For the softmax of logits it equals dividing the logits by the temperature.
    """
    if temperature == 1:
        return probabilities
    return (probabilities.log() / temperature).softmax(dim=1)


def find_right(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Find the digits whose most probable class is right.

    Args:
        probabilities: `Tensor[N, 10]`. A row of equal values is a missed digit, which is wrong.
        targets: `Tensor[N]` int64 in 0..9.

    Returns:
        `Tensor[N]` bool.
    """
    highest, classes = probabilities.max(dim=1)
    return (classes == targets) & (highest > probabilities.amin(dim=1))


def fit_temperature(probabilities: Tensor, targets: Tensor) -> float:
    """Find the temperature of the highest likelihood, from 0.05 to 20.

    A digit whose class has probability 0 does not count, as no temperature changes that.

    Args:
        probabilities: `Tensor[N, 10]` of validation images, best in float64.
        targets: `Tensor[N]` int64 in 0..9.

    Returns:
        The temperature; 1 if no probability is higher than that of the right class. Then the
        likelihood rises as the temperature falls, without end.
    """
    logarithms = probabilities.double().log()
    of_targets = logarithms.gather(1, targets[:, None]).squeeze(1)
    is_possible = of_targets.isfinite()
    logarithms, of_targets = logarithms[is_possible], of_targets[is_possible]
    if not (of_targets < logarithms.amax(dim=1)).any():
        return 1.0

    def nll(log_temperature: float) -> float:
        scaled = logarithms / math.exp(log_temperature)
        return F.cross_entropy(scaled, targets[is_possible]).item()

    bounds = (math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE))
    found = minimize_scalar(nll, bounds=bounds, method="bounded")
    return round(math.exp(found.x), 6)


def fit_threshold(
    confidences: Tensor, is_right: Tensor, error: float = ACCEPTED_ERROR
) -> float | None:
    """Find the lowest threshold of confidence that keeps the share of mistakes low.

    Args:
        confidences: `Tensor[N]` of validation images: the highest probability of each.
        is_right: `Tensor[N]` bool.
        error: Highest share of mistakes among the digits that reach the threshold, in [0, 1].

    Returns:
        The threshold, which is one of the confidences; None if no threshold keeps the share.
    """
    ordered, order = confidences.double().sort(descending=True, stable=True)
    num_wrong = (~is_right[order]).cumsum(dim=0)
    num_accepted = torch.arange(1, len(ordered) + 1)
    # Equal confidences are accepted together.
    is_last_of_equal = torch.cat([ordered[1:] < ordered[:-1], torch.tensor([True])])
    is_allowed = (num_wrong <= error * num_accepted) & is_last_of_equal
    places = is_allowed.nonzero()
    return float(ordered[places[-1]]) if len(places) else None


def fit_scaling(probabilities: Tensor, targets: Tensor) -> TemperatureScaling:
    """Fit the temperature, then the threshold of the calibrated confidences.

    Args:
        probabilities: `Tensor[N, 10]` of validation images, best in float64.
        targets: `Tensor[N]` int64 in 0..9.
    """
    temperature = fit_temperature(probabilities, targets)
    calibrated = apply_temperature(probabilities.double(), temperature)
    is_right = find_right(calibrated, targets)
    threshold = fit_threshold(calibrated.amax(dim=1), is_right)
    return TemperatureScaling(temperature=temperature, threshold=threshold)


def measure_calibration(
    probabilities: Tensor, targets: Tensor, temperature: float, threshold: float | None
) -> Calibration:
    """Measure confidences before and after temperature scaling.

    The 95 % intervals are percentiles over 1,000 seeded bootstrap resamples of the digits.

    Args:
        probabilities: `Tensor[N, 10]` before temperature scaling, best in float64.
        targets: `Tensor[N]` int64 in 0..9.
        temperature: From `fit_temperature`.
        threshold: From `fit_threshold`, of confidences after temperature scaling.
    """
    before = probabilities.double()
    after = apply_temperature(before, temperature)
    losses = torch.cat([_losses(before, targets), _losses(after, targets)], dim=1)
    means, resampled = losses.mean(dim=0, keepdim=True), _resampled_means(losses)
    halves = zip(means.chunk(2, dim=1), resampled.chunk(2, dim=1), strict=True)
    figures_before, figures_after = (_figures(*half) for half in halves)
    confidences, is_right = after.amax(dim=1), find_right(after, targets)
    is_accepted = confidences >= (math.inf if threshold is None else threshold)
    num_accepted = int(is_accepted.sum())
    num_wrong = int((is_accepted & ~is_right).sum())
    return Calibration(
        temperature=temperature,
        threshold=threshold,
        before=figures_before,
        after=figures_after,
        coverage=round(num_accepted / len(targets), 6),
        accepted_error=round(num_wrong / num_accepted, 6) if num_accepted else None,
    )


def bin_of(confidences: Tensor) -> Tensor:
    """Find the bin of each confidence, as torchmetrics does.

    Args:
        confidences: `Tensor[N]` float64 in [0, 1].

    Returns:
        `Tensor[N]` int64 in 0..15; confidences of exactly 1 have a bin of their own.
    """
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=confidences.dtype)
    return torch.bucketize(confidences, edges, right=True) - 1


def _losses(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Compute what the figures are sums of.

    Returns:
        `Tensor[N, 18]` float64: the negative log-likelihood and the Brier score of each digit, and
        in the column of its bin its confidence, minus 1 if it is right.
    """
    of_targets = probabilities.gather(1, targets[:, None]).squeeze(1)
    nll = -of_targets.clamp(min=_LOWEST_PROBABILITY).log()
    brier = (probabilities - F.one_hot(targets, NUM_CLASSES)).square().sum(dim=1)
    confidences = probabilities.amax(dim=1)
    gaps = confidences - find_right(probabilities, targets).double()
    by_bin = F.one_hot(bin_of(confidences), NUM_BINS + 1) * gaps[:, None]
    return torch.cat([nll[:, None], brier[:, None], by_bin], dim=1)


def _resampled_means(losses: Tensor) -> Tensor:
    """Compute the means of columns `[N, C]` over resamples of the rows: `Tensor[R, C]`."""
    num_rows = len(losses)
    generator = torch.Generator().manual_seed(0)
    means = []
    for _ in range(NUM_RESAMPLES // _CHUNK):
        rows = torch.randint(num_rows, (_CHUNK, num_rows), generator=generator)
        counts = torch.zeros(_CHUNK, num_rows, dtype=losses.dtype)
        counts.scatter_add_(1, rows, torch.ones(1, 1, dtype=losses.dtype).expand_as(rows))
        means.append(counts @ losses / num_rows)
    return torch.cat(means)


def _figures(means: Tensor, resampled: Tensor) -> CalibrationFigures:
    """Compute figures from the means of `_losses` over all digits, and over resamples.

    Args:
        means: `Tensor[1, 18]`.
        resampled: `Tensor[R, 18]`.
    """
    sizes = [1, 1, NUM_BINS + 1]
    parts = zip(means.split(sizes, dim=1), resampled.split(sizes, dim=1), strict=True)
    nll, brier, ece = (_estimate(*part) for part in parts)
    return CalibrationFigures(nll=nll, brier=brier, ece=ece)


def _estimate(means: Tensor, resampled: Tensor) -> Estimate:
    """Sum the absolute means of columns; those of losses are positive."""
    tail = (1 - _CONFIDENCE_LEVEL) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=resampled.dtype)
    low, high = resampled.abs().sum(dim=1).quantile(ends).tolist()
    value = float(means.abs().sum())
    return Estimate(value=round(value, 6), low=round(low, 6), high=round(high, 6))
