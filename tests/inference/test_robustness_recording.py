"""`evaluate suite=corruptions`: what it prints, and where its figures go."""

import json
import shutil

import pytest

from mnist_vision.common.files import lock_directory
from mnist_vision.evaluation.corruptions.suite import SUITES
from tests.evaluation.test_robustness import SUITE


@pytest.fixture
def finished(trained, digits, tmp_path, monkeypatch):
    """A copy of a complete run with a TensorBoard folder."""
    monkeypatch.setitem(SUITES, "corruptions", SUITE)
    folder = shutil.copytree(trained()[1].parents[1], tmp_path / "run")
    (folder / "tensorboard").mkdir()
    return folder


@pytest.fixture
def evaluate(run_here, tmp_path):
    """Measures a checkpoint under the suite; gives its output and its record."""

    def go(ckpt_path, *args, output="tested"):
        settings = (f"data.root={tmp_path / 'data'}", "trainer.accelerator=cpu")
        code, printed = run_here(
            "evaluate",
            f"ckpt_path={ckpt_path}",
            "suite=corruptions",
            f"hydra.run.dir={output}",
            *settings,
            *args,
        )
        assert code == 0, printed.err
        return printed, json.loads((tmp_path / output / "robustness.json").read_text())

    return go


def test_the_best_network_of_a_run_is_recorded_in_the_run_too(finished, evaluate):
    printed, record = evaluate("run/checkpoints/best.ckpt")
    assert record == json.loads((finished / "robustness.json").read_text())
    assert record["ckpt_path"] == str(finished / "checkpoints" / "best.ckpt")
    results = json.loads((finished / "results.json").read_text())
    assert record["clean_accuracy"] == results["test"]["accuracy"]
    rows = [line.split()[0] for line in printed.out.splitlines() if line]
    start = rows.index("corruption")
    assert rows[start : start + 6] == ["corruption", "none", "noisy", "moved", "black", "mean"]
    assert "tested/robustness.json" in printed.out
    assert "run/robustness.json" in printed.out
    assert len(list(finished.glob("tensorboard/*.robustness"))) == 1
    evaluate("run/checkpoints/best.ckpt", output="again")
    assert len(list(finished.glob("tensorboard/*.robustness"))) == 1


def test_another_checkpoint_and_an_unfinished_run_are_not_recorded_in_the_run(finished, evaluate):
    evaluate("run/checkpoints/last.ckpt")
    assert not (finished / "robustness.json").exists()
    shutil.copy(finished / "checkpoints" / "best.ckpt", finished / "copy.ckpt")
    evaluate("run/copy.ckpt", output="copy")
    (finished / "results.json").unlink()
    evaluate("run/checkpoints/best.ckpt", output="unfinished")
    assert not (finished / "robustness.json").exists()


def test_a_run_in_use_is_left_alone_with_a_warning(finished, evaluate):
    with lock_directory(finished, "hydra.run.dir"):
        printed, _ = evaluate("run/checkpoints/best.ckpt")
    assert "run: in use or not writable, so it has no robustness.json" in printed.out
    assert not (finished / "robustness.json").exists()


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_an_unknown_suite_is_one_line_before_anything_is_read(run_here, tmp_path, command):
    ckpt_path = ["ckpt_path=missing.ckpt"] if command == "evaluate" else []
    code, output = run_here(command, "suite=corruption", *ckpt_path)
    assert code == 1
    assert output.err == "error: suite=corruption: must be corruptions or null\n"
    assert list(tmp_path.iterdir()) == []


def test_a_suite_on_scenes_is_refused_before_anything_is_written(run_here, finished, tmp_path):
    code, output = run_here(
        "train", "model=faster_rcnn", "data=mnist_scenes", "suite=corruptions", "hydra.run.dir=new"
    )
    assert code == 1
    assert output.err.startswith("error: suite=corruptions: corrupts single digits")
    assert not (tmp_path / "new").exists()
