"""The results of a run as lines for a terminal."""

import shlex

from mnist_vision.common.files import shown
from mnist_vision.data.constants import LABEL_ERRORS
from mnist_vision.runs.calibration_record import Calibration
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.record import Results, TestFigures, TrainingResults
from mnist_vision.runs.settings import command_line, program


def result_lines(results: TrainingResults, directory: RunDirectory) -> list[str]:
    """List the figures of a run, and the commands to look at it."""
    ended_by = f", ended by {results.ended_by}" if results.ended_by else ""
    rows = {
        "trained for": f"{results.epochs:g} epochs{ended_by}",
        "training loss": f"{results.train.loss:.4f}",
        "training accuracy": f"{results.train.accuracy:.4f}",
        "val accuracy": f"{results.best.val_accuracy:.4f}",
        **(_test_rows(results.test, results.calibration) if isinstance(results, Results) else {}),
        "training time": f"{results.seconds.fit:.1f} s",
        "results": str(shown(directory.path / results.FILE)),
    }
    if (directory.path / "tensorboard").is_dir():
        folder = shlex.quote(str(shown(directory.path)))
        rows["curves, pictures"] = f"{program('tensorboard')} --logdir {folder}"
    what = "test it again" if isinstance(results, Results) else "test it"
    rows[what] = command_line("evaluate", ckpt_path=directory.best_checkpoint)
    return _columns(rows)


def figure_lines(test: TestFigures, calibration: Calibration | None = None) -> list[str]:
    """List the figures of a test."""
    return _columns(_test_rows(test, calibration))


def _test_rows(test: TestFigures, calibration: Calibration | None) -> dict[str, str]:
    mistakes = f"{test.num_mistakes} of {test.num_images:,}"
    if test.missed:
        mistakes += f", {test.missed} of them not found"
    rows = {"test accuracy": f"{test.accuracy:.4f}"}
    if test.accuracy_without_label_errors is not None:
        number = len(LABEL_ERRORS)
        accuracy = test.accuracy_without_label_errors
        rows[""] = f"{accuracy:.4f} without the {number} digits whose label is known to be wrong"
    rows |= {"test F1 (macro)": f"{test.f1:.4f}", "mistakes": mistakes}
    return rows | (_calibration_rows(calibration) if calibration is not None else {})


def _calibration_rows(calibration: Calibration) -> dict[str, str]:
    before, after = calibration.before.ece.value, calibration.after.ece.value
    rows = {"calibration error": f"{after:.4f}"}
    if calibration.temperature != 1:
        rows["calibration error"] += f"; {before:.4f} before temperature scaling"
    if calibration.accepted_error is not None:
        coverage, wrong = 100 * calibration.coverage, 100 * calibration.accepted_error
        rows["confident in"] = f"{coverage:.1f} % of the digits, {wrong:.2f} % of which are wrong"
    return rows


def _columns(rows: dict[str, str]) -> list[str]:
    return [f"{name:<18} {value}" for name, value in rows.items()]
