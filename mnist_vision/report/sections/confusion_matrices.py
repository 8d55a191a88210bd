"""The confusion matrix of each setting."""

import numpy as np

from mnist_vision.evaluation.confusion_matrix import draw_confusion_matrix
from mnist_vision.report.blocks import Block, Plot, Plots, Section, for_each_test, limit_note
from mnist_vision.report.grouping import Setting, SharedTest
from mnist_vision.report.plotting import plain_label, to_png

MAX_MATRICES = 12
MAX_LABEL = 36


def plot_confusions(setting: Setting) -> bytes:
    """Draw the confusion matrix of all runs of a setting as a PNG file."""
    targets = np.concatenate([run.targets for run in setting.runs])
    predictions = np.concatenate([run.predictions for run in setting.runs])
    label = plain_label(setting.label, MAX_LABEL)
    return to_png(draw_confusion_matrix(targets, predictions, label))


def _make_blocks(test: SharedTest) -> list[Block]:
    plots = [
        Plot(
            test.file_name(f"confusion_{number}"),
            f"confusion matrix of {setting.label}",
            plot_confusions(setting),
        )
        for number, setting in enumerate(test.settings[:MAX_MATRICES], 1)
    ]
    return [*limit_note(test, MAX_MATRICES), Plots(plots)]


SECTION = Section(
    "Confusion matrices",
    "Rows are true digits, columns are predicted digits, and counts are sums over all seeds of a "
    "setting. The colour shows the number of mistakes; correct predictions are not coloured. "
    'The column "none" counts images in which a detector found no box.',
    for_each_test(_make_blocks),
)
