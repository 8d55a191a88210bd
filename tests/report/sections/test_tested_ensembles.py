import numpy as np
import pytest
import torch

from mnist_vision.evaluation.ensembles import Answers, calibrate, compare
from mnist_vision.report.grouping import group
from mnist_vision.report.sections.tested_ensembles import SECTION
from mnist_vision.report.selection import select
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.ensemble_record import Ensemble, EnsembleMember
from tests.report.fixtures import compare_runs, digits, predict, write_run


def write_ensemble(folder, val_accuracy, targets=None):
    """Writes the test of two networks, of which the ensemble has 2 mistakes and the best 4."""
    targets = torch.from_numpy(digits(200) if targets is None else targets)

    def answers(accuracy):
        predictions = torch.from_numpy(predict(targets.numpy(), accuracy, 0))
        probabilities = torch.full((len(targets), 10), 0.01, dtype=torch.float64)
        probabilities.scatter_(1, predictions[:, None], 0.91)
        return Answers(targets, predictions, probabilities)

    ensemble = answers(0.99)
    member = {"ckpt_path": "/runs/best.ckpt", "architecture": "cnn", "seed": 0}
    member |= {"val_accuracy": 0.98, "test_accuracy": 0.98}
    record = Ensemble(
        members=[EnsembleMember(**member), EnsembleMember(**member | {"architecture": "vgg16"})],
        val_accuracy=val_accuracy,
        test=ensemble.figures(),
        calibration=calibrate(ensemble, ensemble),
        best_member=compare(ensemble, answers(0.98)),
        seconds={"validation": 1.0, "test": 2.0},
    )
    RunDirectory(folder).write(record, ensemble.to_record())
    return folder


def test_ensembles_have_a_row_each_by_validation_accuracy(tmp_path):
    write_run(tmp_path / "run")
    write_ensemble(tmp_path / "a", 0.985)
    write_ensemble(tmp_path / "b", 0.99)
    table, details = SECTION.make_blocks(compare_runs(tmp_path))
    first, second = ([cell.text for cell in row] for row in table.rows)
    assert (first[1], second[1]) == ("0.9900", "0.9850")
    assert first[0] == "1 cnn, 1 vgg16"
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
