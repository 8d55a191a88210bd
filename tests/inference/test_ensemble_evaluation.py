"""Ensembles through the command, with tiny networks on synthetic digits."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.ensemble_record import Ensemble
from mnist_vision.training.checkpoints import read_checkpoint
from tests.training.conftest import changed


@pytest.fixture
def runs(trained, tmp_path):
    """A directory of two completed runs that differ in their seed, and of a third file."""
    for seed in (0, 1):
        _, last = trained(f"seed={seed}")
        shutil.copytree(last.parents[1], tmp_path / "runs" / str(seed))
    return tmp_path / "runs"


@pytest.fixture
def evaluate(run_here, digits, tmp_path):
    """Tests an ensemble; gives the record and what was printed."""

    def run(ckpt_path, name, *settings):
        code, output = run_here(
            "evaluate", f"ckpt_path={ckpt_path}", f"hydra.run.dir={name}", *settings
        )
        assert code == 0, output.err
        return RunDirectory(tmp_path / name).read(Ensemble), output.out

    return run


@pytest.fixture
def refusal(run_here, digits, tmp_path):
    """Runs the command; gives the line in which it is refused, before anything is written."""

    def run(ckpt_path, *settings):
        code, output = run_here("evaluate", f"ckpt_path={ckpt_path}", *settings)
        assert code == 1
        (line,) = output.err.splitlines()
        assert not (tmp_path / "outputs").exists()
        return line

    return run


def best(number):
    return f"runs/{number}/checkpoints/best.ckpt"


def without_times(record):
    return record.model_dump(exclude={"seconds"})


def test_a_directory_and_its_checkpoints_in_any_order_give_the_same_figures(runs, evaluate):
    of_directory, printed = evaluate("runs", "a")
    assert "ensemble of 2" in printed
    assert "McNemar's test" in printed
    of_list, _ = evaluate(f"[{best(1)},{best(0)}]", "b")
    of_turned_list, _ = evaluate(f"[{best(0)},{best(1)}]", "c")
    assert without_times(of_directory) == without_times(of_list) == without_times(of_turned_list)
    names = [RunDirectory(runs.parent / name).read_predictions() for name in "abc"]
    assert all(np.array_equal(names[0].scores, other.scores) for other in names[1:])


def test_the_figures_of_members_are_those_of_their_runs(runs, evaluate):
    record, printed = evaluate("runs", "a")
    results = [json.loads((runs / str(seed) / "results.json").read_text()) for seed in (0, 1)]
    by_seed = {member.seed: member for member in record.members}
    for result in results:
        member = by_seed[result["seed"]]
        assert member.test_accuracy == result["test"]["accuracy"]
        assert member.val_accuracy == pytest.approx(result["best"]["val_accuracy"], abs=1e-6)
        assert member.architecture == "cnn"
    accuracies = [member.val_accuracy for member in record.members]
    assert accuracies == sorted(accuracies, reverse=True)
    predictions = RunDirectory(runs.parent / "a").read_predictions()
    assert len(predictions.targets) == record.test.num_images == 200
    assert predictions.num_mistakes == record.test.num_mistakes
    assert f"test accuracy      {record.test.accuracy:.4f}" in printed


def test_members_are_chosen_by_validation_accuracy(runs, evaluate, refusal):
    shutil.copytree(runs / "0", runs / "2")
    path = runs / "2" / "results.json"
    results = json.loads(path.read_text())
    results["best"]["val_accuracy"] = 0.0
    results["test"]["accuracy"] = 1.0
    path.write_text(json.dumps(results))
    # All three would hold a network twice.
    assert "is the same network as" in refusal("runs")
    record, _ = evaluate("runs", "a", "members=2")
    assert sorted(member.seed for member in record.members) == [0, 1]


def test_of_a_list_the_best_by_validation_are_taken(runs, evaluate, tmp_path):
    for accuracy in (0.0, 1.0):
        checkpoint = read_checkpoint(runs / "0" / "checkpoints" / "best.ckpt")
        spoilt = changed(checkpoint, ("callbacks", "History", "rows", -1, "val/accuracy"), accuracy)
        torch.save(spoilt, tmp_path / f"{accuracy:g}.ckpt")
    record, _ = evaluate(f"[0.ckpt,{best(1)},1.ckpt]", "a", "members=2")
    assert {member.ckpt_path.rpartition("/")[2] for member in record.members} == {
        "1.ckpt", "best.ckpt",
    }  # fmt: skip


def test_a_directory_of_an_ensemble_is_replaced_only_on_demand(runs, evaluate, run_here):
    evaluate("runs", "a")
    code, output = run_here("evaluate", "ckpt_path=runs", "hydra.run.dir=a")
    assert code == 1
    assert "holds a run" in output.err
    evaluate("runs", "a", "overwrite=true")


def test_a_member_is_never_overwritten(runs, refusal):
    line = refusal("runs", "hydra.run.dir=runs/0", "overwrite=true")
    assert line == f"error: overwrite=true: would delete ckpt_path={best(0)}"
    assert (runs / "0" / "results.json").exists()


@pytest.mark.parametrize(
    ("ckpt_path", "settings", "reason"),
    [
        (f"[{best(0)},gone.ckpt]", [], "ckpt_path=gone.ckpt: no such file"),
        (f"[{best(0)},text.ckpt]", [], "ckpt_path=text.ckpt: corrupt, or not a checkpoint"),
        (f"[{best(0)},{best(0)}]", [], "is the same network as runs/0/checkpoints/best.ckpt"),
        (f"[{best(0)},copy.ckpt]", [], "ckpt_path=copy.ckpt: is the same network as runs/0"),
        (f"[{best(0)}]", [], "names one network, and an ensemble has at least 2"),
        (
            f"[{best(0)},model.onnx]",
            [],
            "ckpt_path=model.onnx: its probabilities cannot be averaged",
        ),
        ("runs/0", [], "names one network, and an ensemble has at least 2"),
        ("empty", [], "ckpt_path=empty: no completed run in it"),
        ("runs", ["members=3"], "members=3: must be at most 2, the number of networks"),
        (best(0), ["members=2"], "members=2: chooses among several networks; give ckpt_path=[A"),
        (
            "runs",
            ["suite=corruptions"],
            "suite=corruptions: needs one network that reads each image once",
        ),
        ("runs", ["members=1"], "members=1: must be a whole number of at least 2 or null"),
        (best(0), ["shift=4"], "shift=4: must be a whole number from 0 to 3"),
        (best(0), ["shift=x"], "shift=x: must be a whole number from 0 to 3"),
        (
            best(0),
            ["shift=1", "suite=corruptions"],
            "suite=corruptions: needs one network that reads each image once",
        ),
        (best(0), ["shift=1", "members=1"], "members=1: must be a whole number of at least 2"),
        ("model.onnx", ["shift=1"], "ckpt_path=model.onnx: its probabilities cannot be averaged"),
        ("runs", ["+data.split_seed=3"], "was trained with data.split_seed=0, which trains on"),
    ],
)
def test_what_is_no_ensemble_is_refused(runs, refusal, tmp_path, ckpt_path, settings, reason):
    shutil.copy(runs / "0" / "checkpoints" / "best.ckpt", tmp_path / "copy.ckpt")
    (tmp_path / "text.ckpt").write_text("some text")
    (tmp_path / "empty").mkdir()
    assert reason in refusal(ckpt_path, *settings)


OTHER_DATA = [
    ("split_seed", 5, "was trained with data.split_seed=5, which trains on validation images of"),
    ("val_size", 90, "was trained with data.val_size=90, which trains on validation images of"),
    (
        "_target_",
        "mnist_vision.data.scenes.mnist_scenes.MNISTScenesDataModule",
        "data=mnist_scenes: shows several digits an image, and cnn reads one",
    ),
]


@pytest.mark.parametrize(("key", "value", "reason"), OTHER_DATA)
def test_members_of_other_data_are_refused(runs, refusal, tmp_path, key, value, reason):
    checkpoint = read_checkpoint(runs / "1" / "checkpoints" / "best.ckpt")
    del checkpoint["run"]["settings"]["data"]["device"]  # which scenes do not have
    torch.save(
        changed(checkpoint, ("run", "settings", "data", key), value), tmp_path / "other.ckpt"
    )
    assert reason in refusal(f"[{best(0)},other.ckpt]")


def test_detectors_of_other_scenes_are_refused_and_single_digits_unite_them(
    trained, evaluate, refusal, runs, tmp_path
):
    _, last = trained("model=faster_rcnn", "model.widths=[4,8]")
    checkpoint = read_checkpoint(last.with_name("best.ckpt"))
    scenes = {"_target_": "mnist_vision.data.scenes.mnist_scenes.MNISTScenesDataModule"}
    data = checkpoint["run"]["settings"]["data"]
    del data["device"]  # which scenes do not have
    for number in (20, 30):
        settings = data | scenes | {"num_test_scenes": number}
        torch.save(
            changed(checkpoint, ("run", "settings", "data"), settings), tmp_path / f"{number}.ckpt"
        )
    line = refusal("[20.ckpt,30.ckpt]")
    assert re.search(r"ckpt_path=30.ckpt: was trained with data.num_test_scenes=30, and", line)
    record, _ = evaluate(f"[20.ckpt,{best(0)}]", "a", "data=mnist", "+data.val_size=100")
    assert {member.architecture for member in record.members} == {"cnn", "faster_rcnn"}


def test_a_network_that_averages_shifts_is_recorded_apart(runs, evaluate):
    record, printed = evaluate(best(0), "a", "shift=1")
    (member,) = record.members
    assert record.shift == 1
    assert "averaged, 9 shifts" in printed
    results = json.loads((runs / "0" / "results.json").read_text())
    assert member.test_accuracy == results["test"]["accuracy"]
    once = RunDirectory(runs / "0").read_predictions().preds
    averaged = RunDirectory(runs.parent / "a").read_predictions()
    is_right, was_right = averaged.preds == averaged.targets, once == averaged.targets
    assert record.best_member.ensemble_only == (is_right & ~was_right).sum()
    assert record.best_member.member_only == (was_right & ~is_right).sum()


def test_members_average_shifts_too(runs, evaluate):
    alone = [evaluate(best(number), f"a{number}", "shift=1")[1] for number in (0, 1)]
    record, printed = evaluate("runs", "b", "shift=1")
    assert "ensemble of 2, 9 shifts" in printed
    probabilities = [
        np.exp(RunDirectory(runs.parent / f"a{number}").read_predictions().scores)
        for number in range(len(alone))
    ]
    together = np.exp(RunDirectory(runs.parent / "b").read_predictions().scores)
    np.testing.assert_allclose(together, np.mean(probabilities, axis=0), atol=1e-6)
    assert [member.test_accuracy for member in record.members] == [
        json.loads((runs / str(member.seed) / "results.json").read_text())["test"]["accuracy"]
        for member in record.members
    ]


def test_scenes_are_not_shifted(trained, refusal, tmp_path, runs):
    _, last = trained("model=faster_rcnn", "model.widths=[4,8]")
    shutil.copy(last.with_name("best.ckpt"), tmp_path / "detector.ckpt")
    line = refusal("detector.ckpt", "shift=1", "data=mnist_scenes")
    assert line == "error: shift=1: is for images of one digit, not for scenes"
