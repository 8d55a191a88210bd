"""Calibration: how far the confidences of each setting can be trusted."""

import torch

from mnist_vision.evaluation.reliability_diagram import draw_reliability_diagram
from mnist_vision.models.classifier import to_probabilities
from mnist_vision.report.blocks import (
    Block,
    Cell,
    Plot,
    Plots,
    Section,
    Table,
    for_each_test,
    limit_note,
)
from mnist_vision.report.grouping import Setting, SharedTest
from mnist_vision.report.plotting import plain_label, to_png
from mnist_vision.report.quantities import NOTHING
from mnist_vision.runs.calibration_record import Calibration, Estimate
from mnist_vision.runs.directory import RunDirectory

MAX_DIAGRAMS = 12
MAX_LABEL = 36
FIGURES = {
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
}


def plot_reliability(setting: Setting, calibration: Calibration) -> bytes:
    """Draw the reliability diagram of a setting's representative as a PNG file."""
    predictions = RunDirectory(setting.representative.folder).read_predictions()
    scores = torch.from_numpy(predictions.scores).double()
    figure = draw_reliability_diagram(
        to_probabilities(scores),
        to_probabilities(scores, calibration.temperature),
        torch.from_numpy(predictions.targets),
        plain_label(setting.label, MAX_LABEL),
    )
    return to_png(figure)


def _make_blocks(test: SharedTest) -> list[Block]:
    found = [(place, each, _calibration(each)) for place, each in enumerate(test.settings)]
    calibrated = [(place, each, known) for place, each, known in found if known is not None]
    if not calibrated:
        return []
    rows = [_row(*each) for each in calibrated]
    columns = ("setting", *FIGURES.values(), "temperature", "digits above threshold", "their error")
    plots = [
        Plot(
            test.file_name(f"reliability_{number}"),
            f"reliability diagram of {setting.label}",
            plot_reliability(setting, calibration),
        )
        for number, (_, setting, calibration) in enumerate(calibrated[:MAX_DIAGRAMS], 1)
    ]
    note = limit_note(test, MAX_DIAGRAMS) if len(calibrated) > MAX_DIAGRAMS else []
    return [Table(columns, rows, ("setting",)), *note, Plots(plots)]


def _calibration(setting: Setting) -> Calibration | None:
    return setting.representative.results.calibration


def _row(place: int, setting: Setting, calibration: Calibration) -> list[Cell]:
    before, after = calibration.before, calibration.after
    figures = [_cell(getattr(before, name), getattr(after, name)) for name in FIGURES]
    error = calibration.accepted_error
    return [
        Cell(setting.label, colour=place),
        *figures,
        Cell(f"{calibration.temperature:.2f}"),
        Cell(NOTHING if error is None else f"{calibration.coverage:.2%}"),
        Cell(NOTHING if error is None else f"{error:.2%}"),
    ]


def _cell(before: Estimate, after: Estimate) -> Cell:
    text = f"{before.value:.4f} → {after.value:.4f}"
    return Cell(text, f"{after.low:.4f} to {after.high:.4f}")


SECTION = Section(
    "Confidence",
    "Figures before → after temperature scaling; lower is better. The temperature and the "
    "threshold of a network are fit on its validation images alone. Below each figure is the 95 %"
    " interval of the second value, over 1,000 bootstrap resamples of the test digits; resampling"
    " adds noise to the calibration error, so its interval lies somewhat high. The threshold is "
    "the lowest confidence from which on at most 0.1 % of the validation digits are wrong. In a "
    "diagram, the points of a calibrated network lie on the diagonal; bars are 95 % intervals "
    "(Wilson). Each setting is represented by its run of the lowest seed.",
    for_each_test(_make_blocks),
)
