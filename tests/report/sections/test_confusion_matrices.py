import numpy as np

from mnist_vision.report.sections import confusion_matrices
from mnist_vision.report.sections.confusion_matrices import MAX_MATRICES, plot_confusions
from tests.report.fixtures import compare_runs, shared_test, write_run


def test_confusions_of_all_seeds_are_added_up(tmp_path, monkeypatch):
    targets = np.arange(10)
    for seed, predicted in enumerate((7, 2)):
        predictions = np.where(targets == 1, predicted, targets)
        write_run(tmp_path / f"{seed}", seed=seed, targets=targets, predictions=predictions)
    drawn = []
    draw = confusion_matrices.draw_confusion_matrix
    monkeypatch.setattr(
        confusion_matrices,
        "draw_confusion_matrix",
        lambda *args: drawn.append(args) or draw(*args),
    )
    assert plot_confusions(shared_test(tmp_path).settings[0]).startswith(b"\x89PNG")
    ((targets, predictions, label),) = drawn
    assert (len(targets), label) == (20, "cnn")
    assert sorted(predictions[targets == 1]) == [2, 7]


def test_the_first_settings_are_drawn(tmp_path):
    for number in range(MAX_MATRICES + 1):
        write_run(tmp_path / f"{number}", overrides=[f"n={number}"])
    note, plots = confusion_matrices.SECTION.make_blocks(compare_runs(tmp_path))
    assert note.text.startswith("Shown: the 12 of 13 settings")
    assert [plot.file_name for plot in plots.plots][-1] == "confusion_12.png"
