import csv

import numpy as np
import pytest

from mnist_vision.report import page
from mnist_vision.report.blocks import Plots, Table
from mnist_vision.report.sections import confidence
from tests.report.fixtures import compare_runs, write_calibrated, write_run


def blocks_of(folder):
    return confidence.SECTION.make_blocks(compare_runs(folder))


def test_figures_before_and_after_are_shown_with_an_interval(tmp_path):
    measured = write_calibrated(tmp_path / "a")
    table, plots = blocks_of(tmp_path)
    assert isinstance(table, Table)
    assert isinstance(plots, Plots)
    (row,) = table.rows
    ece = dict(zip(table.columns, row, strict=True))["calibration error (ECE)"]
    before, after = measured.before.ece, measured.after.ece
    assert ece.text == f"{before.value:.4f} → {after.value:.4f}"
    assert ece.note == f"{after.low:.4f} to {after.high:.4f}"
    assert [cell.text for cell in row[-3:]] == [
        "3.00",
        f"{measured.coverage:.2%}",
        f"{measured.accepted_error:.2%}",
    ]
    (plot,) = plots.plots
    assert plot.file_name == "reliability_1.png"
    assert plot.png.startswith(b"\x89PNG")


def test_probabilities_of_the_diagram_come_from_the_scores(tmp_path, monkeypatch):
    write_calibrated(tmp_path / "a")
    drawn = []
    draw = confidence.draw_reliability_diagram
    monkeypatch.setattr(
        confidence, "draw_reliability_diagram", lambda *args: drawn.append(args) or draw(*args)
    )
    blocks_of(tmp_path)
    ((before, after, targets, label),) = drawn
    assert float(before.amax()) == pytest.approx(np.exp(6) / (np.exp(6) + 9))
    assert float(after.amax()) == pytest.approx(np.exp(2) / (np.exp(2) + 9))
    assert (len(targets), label) == (200, "cnn")


def test_runs_of_earlier_versions_have_no_row_and_alone_no_section(tmp_path):
    write_run(tmp_path / "old", overrides=["old=1"])
    assert blocks_of(tmp_path) == []
    write_calibrated(tmp_path / "new", overrides=["new=1"], threshold=None)
    table, _ = blocks_of(tmp_path)
    (row,) = table.rows
    assert row[0].text == "cnn new=1"
    assert [cell.text for cell in row[-2:]] == [confidence.NOTHING] * 2


def test_many_settings_are_limited_to_the_first_diagrams(tmp_path, monkeypatch):
    monkeypatch.setattr(confidence, "MAX_DIAGRAMS", 1)
    for number in range(2):
        write_calibrated(tmp_path / f"{number}", overrides=[f"n={number}"])
    table, note, plots = blocks_of(tmp_path)
    assert len(table.rows) == 2
    assert note.text.startswith("Shown: the 1 of 2 settings")
    assert len(plots.plots) == 1


def test_likelihood_and_calibration_error_are_columns_of_the_csv_file(tmp_path):
    measured = write_calibrated(tmp_path / "a")
    (row,) = csv.DictReader(page._csv(compare_runs(tmp_path)).decode().splitlines())
    assert float(row["nll"]) == measured.after.nll.value
    assert float(row["ece"]) == measured.after.ece.value
