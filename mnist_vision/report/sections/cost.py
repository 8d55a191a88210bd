"""Test accuracy by what it costs: parameters, training time, inference time."""

import numpy as np
from adjustText import adjust_text

from mnist_vision.report import plotting
from mnist_vision.report.blocks import Block, Plot, Plots, Section, for_each_test, limit_note
from mnist_vision.report.grouping import SharedTest
from mnist_vision.report.quantities import QUANTITIES

COSTS = ("num_parameters", "fit_seconds", "inference_ms")
OTHER_COLOUR = "#c8ccd0"
# Longest name that fits beside a point, in letters.
MAX_NAME = 20


def plot_cost(test: SharedTest, name: str) -> bytes:
    """Plot test accuracy over a cost, with the standard deviation over seeds as a bar.

    The first ten settings have colours and names, or numbers if names do not fit. `name` is one of
    `COSTS`.
    """
    figure, axes = plotting.new_figure(4.8, 3.8)
    # A logarithmic axis has no place for 0, which a clock may measure.
    costs = [max(setting.mean(name), 1e-6) for setting in test.settings]
    accuracies = [float(plotting.clip_accuracy(one.mean("test_accuracy"))) for one in test.settings]
    axes.set_xscale("log")
    plotting.scale_accuracy(axes)
    # Leave room for names, above all on the right.
    axes.set_xlim(min(costs) / 1.5, max(costs) * 2.5)
    axes.set_ylim(
        plotting.clip_accuracy(1 - 1.4 * (1 - min(accuracies))), 1 - (1 - max(accuracies)) / 1.4
    )
    for place, setting in enumerate(test.settings):
        reach = setting.standard_deviation("test_accuracy") or 0
        ends = plotting.clip_accuracy(setting.mean("test_accuracy") + np.array([-reach, reach]))
        colour = plotting.COLOURS[place] if place < plotting.MAX_COLOURS else OTHER_COLOUR
        axes.plot([costs[place]] * 2, ends, color=colour, lw=1.5)
        axes.plot(costs[place], accuracies[place], "o", color=colour, ms=7, mec="white")
    axes.set(xlabel=QUANTITIES[name].title, ylabel="test accuracy")
    plotting.use_plain_numbers(axes.xaxis)
    axes.tick_params(axis="x", which="both", labelsize=8)
    figure.draw_without_rendering()  # the labels of the axes settle where points lie
    points = zip(costs, accuracies, _point_names(test), strict=False)
    texts = [axes.text(x, y, text, fontsize=8) for x, y, text in points]
    line = {"arrowstyle": "-", "color": "#9aa0a6", "lw": 0.6}
    adjust_text(texts, ax=axes, iter_lim=200, expand=(1.3, 1.9), arrowprops=line)
    return plotting.to_png(figure)


def _make_blocks(test: SharedTest) -> list[Block]:
    plots = [
        Plot(
            test.file_name(f"cost_{name}"),
            f"test accuracy by {QUANTITIES[name].title}",
            plot_cost(test, name),
        )
        for name in COSTS
    ]
    return [*limit_note(test, plotting.MAX_COLOURS, "Numbered"), Plots(plots)]


def _point_names(test: SharedTest) -> list[str]:
    """The labels of the settings if all fit beside the points, else their numbers."""
    labels = [plotting.plain_label(setting.label, MAX_NAME) for setting in test.settings]
    if len(labels) <= plotting.MAX_COLOURS and all(len(s.label) <= MAX_NAME for s in test.settings):
        return labels
    return [str(number) for number, _ in enumerate(labels[: plotting.MAX_COLOURS], 1)]


SECTION = Section(
    "Accuracy and cost",
    "Higher is more accurate, further left is cheaper. The axes of cost are logarithmic. Bars are "
    "± one standard deviation over seeds. Where names do not fit, numbers are those of the table "
    "of all settings. Compare times only between runs on the same machine with no other load.",
    for_each_test(_make_blocks),
)
