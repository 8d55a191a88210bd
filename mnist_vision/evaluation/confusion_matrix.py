"""The confusion matrix: counted from predictions and drawn as a figure."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mnist_vision.data.constants import MISSED, NUM_CLASSES

Digits = NDArray[np.int64]


def count_confusions(targets: Digits, predictions: Digits) -> Digits:
    """Count how often each digit was predicted as each class.

    Args:
        targets: `[N]` int64 in 0..9.
        predictions: `[N]` int64 in 0..9, or `MISSED`.

    Returns:
        `[10, 10]` int64: a row for each digit, a column for each prediction. `[10, 11]` if there
        are missed digits, which the last column counts.
    """
    classes = np.where(predictions == MISSED, NUM_CLASSES, predictions)
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES + 1), np.int64)
    np.add.at(counts, (targets, classes), 1)
    return counts if counts[:, -1].any() else counts[:, :-1]


def draw_confusion_matrix(targets: Digits, predictions: Digits, label: str = "") -> Figure:
    """Draw the counts of `count_confusions`, coloured by the number of mistakes.

    Args:
        targets: `[N]` int64 in 0..9.
        predictions: `[N]` int64 in 0..9, or `MISSED`.
        label: What made the predictions, for the title.
    """
    counts = count_confusions(targets, predictions)
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    # Not pyplot: it keeps its figures and needs a display.
    figure = Figure(figsize=(3.9, 4.1), dpi=150, layout="constrained")
    axes = figure.subplots()
    # Correct predictions are not coloured: beside a thousand of them, three mistakes are invisible.
    darkest = max(int(mistakes.max()), 4)
    axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=darkest)
    for target, predicted in np.argwhere(counts):
        count = int(counts[target, predicted])
        on_dark = target != predicted and count > darkest / 2
        colour = "white" if on_dark else "#8a8f94" if target == predicted else "black"
        text = axes.text(predicted, target, str(count), ha="center", va="center", color=colour)
        text.set_fontsize(7)
        text.set_in_layout(False)  # it lies inside the axes; measuring a hundred texts takes time
    names = [*map(str, range(NUM_CLASSES)), "none"][: counts.shape[1]]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(NUM_CLASSES))
    axes.set(xlabel="predicted digit", ylabel="true digit")
    num_missed = int((predictions == MISSED).sum())
    missed = f", {num_missed:,} of them missed" if num_missed else ""
    title = f"{mistakes.sum():,} of {len(targets):,} wrong{missed}"
    axes.set_title(f"{label}\n{title}" if label else title, fontsize=10)
    return figure
