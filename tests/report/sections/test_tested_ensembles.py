import numpy as np
import pytest

from mnist_vision.report.grouping import group
from mnist_vision.report.sections.tested_ensembles import SECTION
from mnist_vision.report.selection import select
from tests.report.fixtures import compare_runs, digits, write_ensemble, write_run


def test_ensembles_have_a_row_each_by_validation_accuracy(tmp_path):
    write_run(tmp_path / "run")
    write_ensemble(tmp_path / "a", 0.985, shift=1)
    write_ensemble(tmp_path / "b", 0.99)
    table, details = SECTION.make_blocks(compare_runs(tmp_path))
    first, second = ([cell.text for cell in row] for row in table.rows)
    assert (first[1], second[1]) == ("0.9900", "0.9850")
    assert (first[0], second[0]) == ("1 cnn, 1 vgg16", "1 cnn, 1 vgg16, 9 shifts")
    assert first[2:5:2] == ["0.9900", "2"]
    assert first[7:] == ["0.9800", "2", "0", "0.5000"]
    assert len(details.table.rows) == 4


def test_runs_without_ensembles_have_no_section(tmp_path):
    write_run(tmp_path / "run")
    assert SECTION.make_blocks(compare_runs(tmp_path)) == []


def test_an_ensemble_of_other_digits_is_not_compared(tmp_path):
    write_run(tmp_path / "run")
    write_ensemble(tmp_path / "other", 0.99, np.flip(digits(200)).copy())
    comparison = group(select([str(tmp_path)]))
    assert SECTION.make_blocks(comparison) == []
    (skipped,) = comparison.skipped
    assert skipped.reason == "an ensemble that was tested on other digits than the runs"


@pytest.mark.parametrize("damage", ["record", "predictions", "other predictions"])
def test_a_damaged_ensemble_is_skipped_with_the_reason(tmp_path, damage):
    write_run(tmp_path / "run", accuracy=0.9)
    folder = write_ensemble(tmp_path / "bad", 0.99)
    if damage == "record":
        (folder / "ensemble.json").write_text("{")
    elif damage == "predictions":
        (folder / "test_predictions.npz").unlink()
    else:
        other = (tmp_path / "run" / "test_predictions.npz").read_bytes()
        (folder / "test_predictions.npz").write_bytes(other)
    selection = select([str(tmp_path)])
    assert not selection.ensembles
    (skipped,) = selection.skipped
    assert skipped.path == folder
    assert any(word in skipped.reason for word in ("no JSON", "is missing", "does not belong"))
