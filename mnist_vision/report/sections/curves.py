"""Loss and accuracy by epoch."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mnist_vision.report import plotting
from mnist_vision.report.blocks import Block, Plot, Plots, Section, for_each_test, limit_note
from mnist_vision.report.grouping import SharedTest

# Columns of the history.
CURVES = {
    "train/loss": "training loss",
    "train/accuracy": "training accuracy",
    "val/accuracy": "validation accuracy",
}
MAX_LABEL = 50
# Longest label that fits into half the width of the legend, in letters.
MAX_HALF_LABEL = 25


def plot_curves(test: SharedTest, name: str) -> bytes:
    """Plot a column of the history, a key of `CURVES`, for the first ten settings."""
    labels = [
        plotting.plain_label(setting.label, MAX_LABEL)
        for setting in test.settings[: plotting.MAX_COLOURS]
    ]
    num_columns = 2 if max(map(len, labels)) <= MAX_HALF_LABEL else 1
    figure, axes = plotting.new_figure(4.8, 3.8 + 0.17 * math.ceil(len(labels) / num_columns))
    lines = []
    for setting, colour in zip(test.settings, plotting.COLOURS, strict=False):
        for run in setting.runs if len(setting.runs) > 1 else ():
            _draw(axes, run.curve(name), name, color=colour, lw=0.7, alpha=0.5)
        means = setting.mean_curve(name)
        lines += _draw(axes, means, name, color=colour, lw=1.8, marker="o", ms=3.5)
    if name == "train/loss":
        axes.set_yscale("log")
        plotting.use_plain_numbers(axes.yaxis)
    else:
        plotting.scale_accuracy(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=CURVES[name])
    figure.legend(
        lines, labels, loc="outside lower center", ncols=num_columns, fontsize=8, frameon=False
    )
    return plotting.to_png(figure)


def _make_blocks(test: SharedTest) -> list[Block]:
    plots = [
        Plot(
            test.file_name(f"curve_{name.replace('/', '_')}"),
            f"{title} by epoch",
            plot_curves(test, name),
        )
        for name, title in CURVES.items()
    ]
    return [*limit_note(test, plotting.MAX_COLOURS), Plots(plots)]


def _draw(axes: Axes, curve: Mapping[float, float], name: str, **style: Any) -> list[Any]:
    values = list(curve.values())
    heights = np.maximum(values, 1e-6) if name == "train/loss" else plotting.clip_accuracy(values)
    return axes.plot(list(curve), heights, **style)


SECTION = Section(
    "Curves",
    "Loss and accuracy wherever they were measured, usually after each epoch: a thick line for the "
    "mean over seeds, a thin line for each seed. The axes of accuracy are stretched towards 1, "
    "where the differences are. "
    "Losses of different architectures cannot be compared: a detector's loss is a sum of four.",
    for_each_test(_make_blocks),
)
