"""Figures, axes and colours that the report's plots share."""

import io
from typing import Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter

# Distinguishable with every common kind of colour blindness.
COLOURS = [to_hex(colour) for colour in color_sequences["petroff10"]]
MAX_COLOURS = len(COLOURS)
# A logit axis cannot show 0 and 1.
_LOWEST, _HIGHEST = 0.01, 0.9999


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure with one pair of axes; sizes are in inches."""
    # Not pyplot: it keeps its figures and needs a display.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.grid(alpha=0.25)
    return figure, axes


def to_png(figure: Figure) -> bytes:
    """Draw a figure as a PNG file."""
    file = io.BytesIO()
    # Figure.savefig would draw everything twice.
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def clip_accuracy(accuracy: Any) -> Any:
    """Clip accuracies to the range that an axis of accuracy can show."""
    return np.clip(accuracy, _LOWEST, _HIGHEST)


def scale_accuracy(axes: Axes) -> None:
    """Stretch the vertical axis so that 0.99 and 0.999 are as far apart as 0.9 and 0.99."""
    axes.set_yscale("logit")
    use_plain_numbers(axes.yaxis)


def use_plain_numbers(axis: Axis) -> None:
    """Label a logarithmic or logit axis with plain numbers instead of powers of ten."""
    axis.set_major_formatter(_PlainNumbers(axis.get_major_formatter()))
    axis.set_minor_formatter(_PlainNumbers(axis.get_minor_formatter()))


def plain_label(label: str, max_letters: int) -> str:
    """Shorten a label and replace what matplotlib cannot draw; `$` does not start a formula."""
    short = label if len(label) <= max_letters else f"{label[: max_letters - 3]}..."
    drawable = "".join(c if ord(c) < 0x250 else "?" for c in short)
    return drawable.replace("$", r"\$")


class _PlainNumbers(Formatter):
    """Writes 0.99 and 20k at the ticks that another formatter would label."""

    def __init__(self, inner: Formatter) -> None:
        self._inner = inner

    def set_axis(self, axis: Any) -> None:
        self._inner.set_axis(axis)

    def set_locs(self, locs: Any) -> None:
        self._inner.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        if not self._inner(x, pos):
            return ""
        for size, letter in ((1e6, "M"), (1e3, "k")):
            if x >= size:
                return f"{x / size:g}{letter}"
        return f"{x:.5g}"
