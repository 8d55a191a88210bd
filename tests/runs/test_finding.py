"""The best runs below a folder."""

import json

import pytest

from mnist_vision.common.errors import UserError
from mnist_vision.runs.finding import best_runs
from tests.report.fixtures import write_run

VALIDATES_ALL = {"limit_val_batches": 1.0, "overfit_batches": 0.0}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a completed run below `outputs/`, which the current folder holds."""
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    outputs.mkdir()

    def run(name, val_accuracy, architecture="cnn", trainer=VALIDATES_ALL, test_accuracy=0.5):
        folder = write_run(outputs / name, architecture=architecture, accuracy=test_accuracy)
        results = json.loads((folder / "results.json").read_text())
        results["version"] = 3
        results["best"] = {"epoch": 1, "step": 1, "val_accuracy": val_accuracy}
        results["settings"] = {} if trainer is None else {"trainer": trainer}
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "best.ckpt").touch()
        return folder

    return run


def found(tmp_path):
    outputs = tmp_path / "outputs"
    runs = best_runs(outputs)
    return {key: str(run.path.relative_to(outputs)) for key, run in runs.items()}


def test_the_best_run_of_each_architecture_is_found_and_the_best_comes_first(write, tmp_path):
    write("a", 0.97)
    write("multirun/2026/0", 0.99, "vgg16")
    write("multirun/2026/1", 0.98)
    write("multirun/2026/2", 0.95, "vgg16")
    assert list(found(tmp_path).items()) == [
        ("vgg16", "multirun/2026/0"),
        ("cnn", "multirun/2026/1"),
    ]


def test_the_test_images_choose_nothing(write, tmp_path):
    write("a", 0.97, test_accuracy=0.9)
    write("b", 0.98, test_accuracy=0.1)
    assert found(tmp_path) == {"cnn": "b"}


def test_of_equal_runs_the_first_is_taken(write, tmp_path):
    write("b", 0.97)
    write("a", 0.97)
    assert found(tmp_path) == {"cnn": "a"}


@pytest.mark.parametrize(
    "trainer",
    [
        {"limit_val_batches": 1},  # a batch, as in debug=smoke
        {"limit_val_batches": 0.5},
        {"limit_val_batches": 1.0, "overfit_batches": 2},  # as in debug=overfit
        {"limit_val_batches": "all"},
        "cpu",
        [],
    ],
)
def test_a_run_that_did_not_validate_on_all_images_does_not_count(write, tmp_path, trainer):
    write("a", 1.0, trainer=trainer)
    write("b", 0.5)
    assert found(tmp_path) == {"cnn": "b"}


@pytest.mark.parametrize("trainer", [None, {}, {"limit_val_batches": None}, {"max_epochs": 3}])
def test_a_run_that_limits_nothing_counts(write, tmp_path, trainer):
    write("a", 0.9, trainer=trainer)
    assert found(tmp_path) == {"cnn": "a"}


DAMAGED = [b"", b"{", b"[]", b"\xff\xfe", b'{"version": 3}', b'{"settings": 3}']


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_results_are_passed_over(write, tmp_path, content):
    (write("a", 0.99) / "results.json").write_bytes(content)
    write("b", 0.9)
    assert found(tmp_path) == {"cnn": "b"}


def test_a_run_without_its_best_checkpoint_does_not_count(write, tmp_path):
    (write("a", 0.99) / "checkpoints" / "best.ckpt").unlink()
    write("b", 0.9)
    assert found(tmp_path) == {"cnn": "b"}


def test_no_run_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "outputs", tmp_path):
        with pytest.raises(UserError, match="no completed run in it; train one with") as caught:
            best_runs(path)
        assert "\n" not in str(caught.value)
        assert "ckpt_path=FILE" in str(caught.value)
