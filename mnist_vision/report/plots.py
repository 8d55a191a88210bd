"""The plots of the report, each one PNG file, legible on a phone and on a white card."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, MaxNLocator

from mnist_vision.data.mnist import MISSED, NUM_CLASSES
from mnist_vision.report.grouping import Setting, SharedTest

# Distinguishable with every common kind of colour blindness.
# Source: M. A. Petroff, "Accessible color sequences for data visualization", arXiv:2107.02270.
COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
OTHER_COLOUR = "#c8ccd0"
MAX_CURVES = len(COLOURS)
MAX_MATRICES = 12
# Letters: of a label, of one in half the width of a legend, of one beside a point.
MAX_LABEL = 50
MAX_HALF_LABEL = 25
MAX_NAME = 20
# An accuracy of 1 is infinitely far up a logit axis.
HIGHEST = 0.9999
LOWEST = 0.01

CURVES = {
    "train/loss": "training loss",
    "train/accuracy": "training accuracy",
    "val/accuracy": "validation accuracy",
}
COSTS = {
    "num_parameters": "parameters",
    "fit_seconds": "training time, s",
    "inference_ms": "inference time, ms/image",
}


def plot_curves(test: SharedTest, name: str) -> bytes:
    """A column of the history over epochs: a line a setting, a thin one a seed.

    Args:
        test: The settings; the first ten are drawn.
        name: A key of `CURVES`.

    Returns:
        A PNG file.
    """
    labels = [_plain(setting.label) for setting in test.settings[:MAX_CURVES]]
    num_columns = 2 if max(map(len, labels)) <= MAX_HALF_LABEL else 1
    figure = _figure(4.8, 3.8 + 0.17 * math.ceil(len(labels) / num_columns))
    axes = figure.subplots()
    lines = []
    for setting, colour in zip(test.settings, COLOURS, strict=False):
        for run in setting.runs if len(setting.runs) > 1 else ():
            _draw(
                axes,
                [row[name] for row in run.results.history],
                name,
                color=colour,
                lw=0.7,
                alpha=0.5,
            )
        values = setting.per_epoch(name)
        lines += _draw(axes, values, name, color=colour, lw=1.8, marker="o", ms=3.5)
    if name == "train/loss":
        axes.set_yscale("log")
        _label_with_numbers(axes.yaxis)
    else:
        _scale_accuracy(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=CURVES[name])
    axes.grid(alpha=0.25)
    figure.legend(
        lines, labels, loc="outside lower center", ncols=num_columns, fontsize=8, frameon=False
    )
    return _png(figure)


def plot_cost(test: SharedTest, name: str) -> bytes:
    """Test accuracy over what it costs; bars are standard deviations over seeds.

    Args:
        test: The settings. The first ten have colours and, if there is room, names, else their
            numbers.
        name: A key of `COSTS`.

    Returns:
        A PNG file.
    """
    figure = _figure(4.8, 3.8)
    axes = figure.subplots()
    # On a logarithmic axis, nothing has no place; a clock may say 0.
    costs = [max(setting.mean(name), 1e-6) for setting in test.settings]
    accuracies = [float(_within(setting.mean("test_accuracy"))) for setting in test.settings]
    axes.set_xscale("log")
    _scale_accuracy(axes)
    # Room for names, on the right above all.
    axes.set_xlim(min(costs) / 1.5, max(costs) * 2.5)
    axes.set_ylim(_within(1 - 1.4 * (1 - min(accuracies))), 1 - (1 - max(accuracies)) / 1.4)
    for place, setting in enumerate(test.settings):
        reach = setting.standard_deviation("test_accuracy") or 0
        ends = _within(setting.mean("test_accuracy") + np.array([-reach, reach]))
        colour = COLOURS[place] if place < MAX_CURVES else OTHER_COLOUR
        axes.plot([costs[place]] * 2, ends, color=colour, lw=1.5)
        axes.plot(costs[place], accuracies[place], "o", color=colour, ms=7, mec="white")
    axes.set(xlabel=COSTS[name], ylabel="test accuracy")
    _label_with_numbers(axes.xaxis)
    axes.grid(alpha=0.25)
    named = test.settings[:MAX_CURVES]
    is_room = len(test.settings) <= MAX_CURVES and max(len(s.label) for s in named) <= MAX_NAME
    names = [_plain(s.label) if is_room else str(place) for place, s in enumerate(named, 1)]
    axes.tick_params(axis="x", which="both", labelsize=8)
    figure.draw_without_rendering()  # where the axes lie is settled by their labels
    points = zip(costs, accuracies, names, strict=False)
    texts = [axes.text(x, y, name, fontsize=8) for x, y, name in points]
    line = {"arrowstyle": "-", "color": "#9aa0a6", "lw": 0.6}
    adjust_text(texts, ax=axes, iter_lim=200, expand=(1.3, 1.9), arrowprops=line)
    return _png(figure)


def plot_confusion(setting: Setting) -> bytes:
    """How often each digit was taken for each, over all seeds.

    Returns:
        A PNG file.
    """
    counts = count_confusions(setting)
    num_columns = counts.shape[1]
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    figure = _figure(3.9, 4.1)
    axes = figure.subplots()
    # Coloured by mistakes alone: beside a thousand hits, three misses would be invisible.
    most = max(int(mistakes.max()), 4)
    axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=most)
    for true, predicted in np.argwhere(counts):
        count = int(counts[true, predicted])
        on_dark = true != predicted and count > most / 2
        colour = "white" if on_dark else "#8a8f94" if true == predicted else "black"
        text = axes.text(predicted, true, str(count), ha="center", va="center", color=colour)
        text.set_fontsize(7)
        text.set_in_layout(False)  # inside the axes; measuring a hundred of them takes time
    names = [*map(str, range(NUM_CLASSES)), "none"][:num_columns]
    axes.set_xticks(range(num_columns), names)
    axes.set_yticks(range(NUM_CLASSES))
    axes.set(xlabel="taken for", ylabel="digit")
    axes.set_title(f"{_plain(setting.label, 36)}\n{mistakes.sum():,} mistakes", fontsize=10)
    return _png(figure)


def count_confusions(setting: Setting) -> Any:
    """`[10, 10]` int64: digits by what they were taken for; `[10, 11]` if some were missed."""
    targets = np.concatenate([run.targets for run in setting.runs])
    preds = np.concatenate([run.preds for run in setting.runs])
    num_columns = NUM_CLASSES + int((preds == MISSED).any())
    cells = targets * num_columns + np.where(preds == MISSED, NUM_CLASSES, preds)
    counts = np.bincount(cells, minlength=NUM_CLASSES * num_columns)
    return counts.reshape(NUM_CLASSES, num_columns)


def _figure(width: float, height: float) -> Figure:
    # Not pyplot's: those want a display and are never let go of.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    # Figure.savefig draws everything twice.
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def _draw(axes: Axes, values: Sequence[float], name: str, **style: Any) -> list[Any]:
    heights = np.maximum(values, 1e-6) if name == "train/loss" else _within(values)
    return axes.plot(range(1, len(values) + 1), heights, **style)


def _scale_accuracy(axes: Axes) -> None:
    """An axis on which 0.99 and 0.999 are as far apart as 0.9 and 0.99."""
    axes.set_yscale("logit")
    _label_with_numbers(axes.yaxis)


def _label_with_numbers(axis: Axis) -> None:
    axis.set_major_formatter(_PlainNumbers(axis.get_major_formatter()))
    axis.set_minor_formatter(_PlainNumbers(axis.get_minor_formatter()))


class _PlainNumbers(Formatter):
    """Says 0.99 and 20k where another formatter would write powers of ten.

    Args:
        chooses: Says which ticks have room for a number.
    """

    def __init__(self, chooses: Formatter) -> None:
        self._chooses = chooses

    def set_axis(self, axis: Any) -> None:
        self._chooses.set_axis(axis)

    def set_locs(self, locs: Any) -> None:
        self._chooses.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        if not self._chooses(x, pos):
            return ""
        for size, letter in ((1e6, "M"), (1e3, "k")):
            if x >= size:
                return f"{x / size:g}{letter}"
        return f"{x:.5g}"


def _within(accuracy: Any) -> Any:
    return np.clip(accuracy, LOWEST, HIGHEST)


def _plain(label: str, max_letters: int = MAX_LABEL) -> str:
    """A label as matplotlib can draw it: short, of letters its font has, no mathematics."""
    short = label if len(label) <= max_letters else f"{label[: max_letters - 3]}..."
    drawable = "".join(c if ord(c) < 0x250 else "?" for c in short)
    return drawable.replace("$", r"\$")
