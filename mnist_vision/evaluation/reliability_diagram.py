"""The reliability diagram: accuracy by confidence, before and after temperature scaling."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest
from torch import Tensor

from mnist_vision.evaluation.calibration import NUM_BINS, bin_of, find_right

_GREY, _BLUE = "#8a8f94", "#3f90da"


def draw_reliability_diagram(
    before: Tensor, after: Tensor, targets: Tensor, label: str = ""
) -> Figure:
    """Draw the accuracy of each bin of confidence, with its 95 % interval, and the bins' sizes.

    Args:
        before: `Tensor[N, 10]`: probabilities before temperature scaling.
        after: `Tensor[N, 10]`: calibrated probabilities.
        targets: `Tensor[N]` int64 in 0..9.
        label: What made the predictions, for the title.
    """
    # Not pyplot: it keeps its figures and needs a display.
    figure = Figure(figsize=(3.9, 4.6), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":")
    for probabilities, name, colour, side in (
        (before, "before", _GREY, -1),
        (after, "calibrated", _BLUE, 1),
    ):
        _draw(upper, lower, probabilities.double(), targets, name, colour, side)
    upper.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), ylabel="accuracy")
    upper.legend(loc="lower right", fontsize=8, frameon=False)
    lower.set(yscale="log", xlabel="confidence", ylabel="digits")
    lower.set_ylim(bottom=0.5)  # a bar of one digit is seen
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    figure.suptitle(label, fontsize=10)
    return figure


def _draw(
    upper: Axes,
    lower: Axes,
    probabilities: Tensor,
    targets: Tensor,
    name: str,
    colour: str,
    side: int,
) -> None:
    """Draw accuracies and sizes of the bins; `side` is -1 or 1, the half of its bin for a bar."""
    confidences, is_right = probabilities.amax(dim=1), find_right(probabilities, targets)
    bins = bin_of(confidences).clamp(max=NUM_BINS - 1)  # 1 belongs to the last bin
    sizes = torch.bincount(bins, minlength=NUM_BINS).numpy()
    hits = torch.bincount(bins[is_right], minlength=NUM_BINS).numpy()
    sums = torch.bincount(bins, weights=confidences, minlength=NUM_BINS).numpy()
    filled = sizes.nonzero()[0]
    accuracies = hits[filled] / sizes[filled]
    intervals = [
        binomtest(int(hits[each]), int(sizes[each])).proportion_ci(method="wilson")
        for each in filled
    ]
    reach = np.array([[a - i.low, i.high - a] for a, i in zip(accuracies, intervals, strict=True)])
    upper.errorbar(
        sums[filled] / sizes[filled],
        accuracies,
        yerr=reach.clip(min=0).T,
        fmt="o",
        ms=4,
        lw=1,
        color=colour,
        label=name,
    )
    width = 0.45 / NUM_BINS
    lower.bar((np.arange(NUM_BINS) + 0.5) / NUM_BINS + side * width / 2, sizes, width, color=colour)
