import json
import os
import re

import numpy as np
import pytest

from mnist_vision.common.errors import UserError
from mnist_vision.report.quantities import QUANTITIES
from mnist_vision.report.selection import select
from tests.report.fixtures import write_job, write_robustness, write_run


def change(folder, **changes):
    path = folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def folders(selection):
    return [run.folder.name for run in selection.runs]


def test_runs_are_found_however_they_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x", "a/deep/down/y", "b/z"):
        write_run(tmp_path / name)
    assert folders(select(["a"])) == ["y", "x"]
    assert folders(select(["a/x"])) == ["x"]
    assert folders(select(["*/z", "a/**/y"])) == ["y", "z"]
    assert folders(select(["a/x/results.json"])) == ["x"]
    assert folders(select([".", "a", "./a/x"])) == ["y", "x", "z"]


def test_a_folder_with_a_bracket_is_no_pattern(tmp_path):
    write_run(tmp_path / "lr=[1,2]")
    assert folders(select([str(tmp_path / "lr=[1,2]")])) == ["lr=[1,2]"]


@pytest.mark.parametrize("name", ["gone", "gone*", ""])
def test_what_does_not_exist_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    what = "matches nothing" if "*" in name else "does not exist"
    with pytest.raises(UserError, match=what):
        select(["run", name])


def test_an_empty_folder_says_where_and_how(tmp_path):
    with pytest.raises(
        UserError, match=r"no finished run: .* python -m mnist_vision\.train"
    ) as info:
        select([str(tmp_path)])
    assert str(tmp_path) in str(info.value)


def test_only_what_failed_is_no_comparison(tmp_path):
    write_job(tmp_path / "job")
    with pytest.raises(UserError, match=r"no finished run; .*job failed: model\.weights"):
        select([str(tmp_path)])


def test_quantities_come_from_the_results(tmp_path):
    write_run(tmp_path, accuracy=0.95, seconds=12.0, milliseconds=0.5)
    (run,) = select([str(tmp_path)]).runs
    assert run.num_mistakes == 10
    values = {name: quantity.of(run) for name, quantity in QUANTITIES.items()}
    assert values["num_mistakes"] == 10
    assert values["test_accuracy"] == 0.95
    assert values["fit_seconds"] == 12
    assert values["inference_ms"] == pytest.approx(0.5)
    assert values["val_accuracy"] == max(row["val/accuracy"] for row in run.results.history)


def test_results_of_the_present_version_are_read_too(tmp_path):
    """Version 1, which the other tests write, names no best epoch: it is the first of the best."""
    write_run(tmp_path / "old")
    (old,) = select([str(tmp_path / "old")]).runs
    best = {"epoch": 2, "val_accuracy": old.results.history[1]["val/accuracy"]}
    write_run(tmp_path / "new", version=3, best=best)
    (new,) = select([str(tmp_path / "new")]).runs
    assert new.results.best.val_accuracy == best["val_accuracy"] < old.results.best.val_accuracy
    assert old.results.best.epoch == 3
    assert old.results.version == 3


ROW = {"epoch": 1, "train/loss": 0.1, "train/accuracy": 0.9, "val/accuracy": 0.9}
BAD_RESULTS = [
    ({"version": 4}, "version=4: must be 1, 2 or 3"),
    ({"version": None}, "version=None: must be 1, 2 or 3"),
    ({"architecture": 5}, "architecture=5: must be a valid string"),
    ({"architecture": ""}, "architecture='': String should have at least 1 character"),
    ({"status": "running"}, "status='running': must be 'completed'"),
    ({"seed": "zero"}, "seed='zero': must be a valid integer"),
    ({"seed": True}, "seed=True: must be a valid integer"),
    ({"num_parameters": -1}, "num_parameters=-1: must be greater than or equal to 0"),
    ({"weights": []}, r"weights=\[\]: must be a valid string"),
    ({"history": []}, r"history=\[\]: List should have at least 1 item"),
    ({"history": [{"train/loss": 1}]}, "history=.*: no row has epoch"),
    ({"history": [{"epoch": 1, "train/loss": -1}]}, "history=.*: row 1: train/loss=-1.0 must be"),
    ({"history": [3]}, r"history\[0\]=3: must be a valid dictionary"),
    ({"train": None}, "train=None: must be a valid dictionary"),
    ({"train": {"loss": float("nan"), "accuracy": 1}}, "train.loss=nan: must be a"),
    ({"test": {"accuracy": 1.5}}, "test.accuracy=1.5: must be less than or equal to 1"),
    ({"test": "good"}, "test='good': must be a valid dictionary"),
    ({"seconds": {"fit": 1}}, "seconds.test is missing"),
    ({"environment": "cpu"}, "environment='cpu': must be a valid dictionary"),
    ({"overrides": [1]}, r"overrides\[0\]=1: must be a valid string"),
    ({"settings": 3}, "settings=3: must be a valid dictionary"),
    ({"seconds": {"fit": 1, "test": 1e308}}, r"seconds.test=1e\+308: must be at most 1e\+100"),
    ({"num_parameters": 10**400}, "num_parameters=100.*00: must be at most"),
    ({"history": [ROW, ROW | {"train/loss": 1e300}]}, r"history.2.train/loss=1e\+300: must be at"),
]


@pytest.mark.parametrize(("changes", "reason"), BAD_RESULTS, ids=[r for _, r in BAD_RESULTS])
def test_bad_results_are_skipped_and_the_others_go_on(tmp_path, changes, reason):
    write_run(tmp_path / "good")
    change(write_run(tmp_path / "bad"), **changes)
    selection = select([str(tmp_path)])
    assert folders(selection) == ["good"]
    (skipped,) = selection.skipped
    assert skipped.path == tmp_path / "bad"
    assert re.match(rf"results.json: {reason}", skipped.reason)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000])
def test_no_json_is_skipped(tmp_path, content):
    write_run(tmp_path / "good")
    (write_run(tmp_path / "bad") / "results.json").write_bytes(content)
    (skipped,) = select([str(tmp_path)]).skipped
    assert "results.json: is damaged, no JSON" in skipped.reason


def test_a_book_in_the_place_of_a_number_is_not_recited(tmp_path):
    change(write_run(tmp_path), seed="x" * 10_000)
    with pytest.raises(UserError, match="seed='xxx") as info:
        select([str(tmp_path)])
    assert len(str(info.value)) < 300 + len(str(tmp_path)) * 2


def spoil(kind, path):
    zeros, scores = np.zeros(200, int), np.zeros((200, 10), np.float32)
    if kind == "missing":
        path.unlink()
    elif kind == "noise":
        path.write_bytes(b"not an archive")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "flipped":
        content = bytearray(path.read_bytes())
        content[100:140] = bytes(40)
        path.write_bytes(content)
    elif kind == "bare array":
        with path.open("wb") as file:
            np.save(file, zeros)
    elif kind == "pickle":
        np.savez(path, targets=np.array([Evil()]), preds=zeros, scores=scores)
    elif kind == "key":
        np.savez(path, targets=zeros, preds=zeros)
    elif kind == "shape":
        np.savez(path, targets=zeros, preds=zeros, scores=scores[:, :9])
    elif kind == "scalar":
        np.savez(path, targets=np.array(3), preds=np.array(3), scores=scores)
    elif kind == "dtype":
        np.savez(path, targets=zeros.astype(float), preds=zeros, scores=scores)
    elif kind == "range":
        np.savez(path, targets=zeros, preds=zeros + 10, scores=scores)
    elif kind == "number":
        np.savez(path, targets=zeros[:5], preds=zeros[:5], scores=scores[:5])
    elif kind == "others":
        np.savez(path, targets=zeros, preds=zeros, scores=scores)


class Evil:
    def __reduce__(self):
        return (os.abort, ())


BAD_PREDICTIONS = {
    "missing": "is missing",
    "noise": "is damaged",
    "cut": "is damaged",
    "flipped": "is damaged",
    "bare array": "is damaged",
    "pickle": "is damaged",
    "key": "is damaged",
    "shape": r"scores is float32 of shape \[200, 9\]; must be",
    "scalar": r"targets is int64 of shape \[\]",
    "dtype": "targets is float64",
    "range": "preds holds values outside -1 to 9",
    "number": "num_images is 5, not 200",
    "others": "num_mistakes is 0, not 2",
}


@pytest.mark.parametrize("kind", BAD_PREDICTIONS)
def test_bad_predictions_are_skipped_and_the_others_go_on(tmp_path, kind):
    write_run(tmp_path / "good")
    spoil(kind, write_run(tmp_path / "bad") / "test_predictions.npz")
    selection = select([str(tmp_path)])
    assert folders(selection) == ["good"]
    (skipped,) = selection.skipped
    assert re.match(rf"test_predictions.npz: .*{BAD_PREDICTIONS[kind]}", skipped.reason)


def test_jobs_that_left_nothing_are_kept_with_their_reason(tmp_path):
    write_run(tmp_path / "good")
    write_job(tmp_path / "a")
    write_job(tmp_path / "b", status="running", reason=None)
    write_job(tmp_path / "c", status="stopped", reason=None)
    write_job(tmp_path / "d", model=None)  # that of a command that trains nothing
    jobs = select([str(tmp_path)]).incomplete
    assert [job.status for job in jobs] == ["failed", "running", "stopped"]
    assert "give model.weights=PATH" in jobs[0].reason
    assert "sweep.resume" in jobs[1].reason
    assert jobs[2].reason


def test_a_job_that_was_run_again_with_what_it_lacked_is_not_kept(tmp_path):
    overrides = ["experiment=lab/vgg16", "search=lab", "seed=0"]
    write_job(tmp_path / "lab" / "a", overrides=overrides)
    write_job(tmp_path / "other" / "a", overrides=overrides)
    write_run(tmp_path / "lab" / "b", overrides=["sweep.resume=True", *overrides[:2]])
    (kept,) = select([str(tmp_path)]).incomplete
    assert kept.folder == tmp_path / "other" / "a"


def test_a_job_with_results_is_a_run(tmp_path):
    write_job(write_run(tmp_path / "run"), status="failed")
    selection = select([str(tmp_path)])
    assert folders(selection) == ["run"]
    assert not selection.incomplete


@pytest.mark.parametrize(
    "changes",
    [{"version": 3}, {"status": "completed"}, {"status": 1}, {"overrides": 3}, {"reason": 5}],
)
def test_a_bad_record_of_a_job_is_skipped(tmp_path, changes):
    write_run(tmp_path / "good")
    write_job(tmp_path / "bad", **changes)
    selection = select([str(tmp_path)])
    assert not selection.incomplete
    assert [one.path.name for one in selection.skipped] == ["bad"]


def test_control_characters_do_not_reach_a_terminal(tmp_path):
    write_run(tmp_path, overrides=["model=cnn", "note=\x1b[31mred\n\ud800"])
    (run,) = select([str(tmp_path)]).runs
    assert run.results.overrides[1] == "note= [31mred  "


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "robustness.json: is damaged, no JSON"),
        (b"{}", "robustness.json: suite is missing"),
        (None, "robustness.json: does not belong to results.json: num_images is 199, not 200"),
    ],
)
def test_figures_under_corruptions_that_cannot_be_used_are_skipped_and_the_run_stays(
    tmp_path, content, reason
):
    write_run(tmp_path)
    write_robustness(tmp_path, num_images=199)
    if content is not None:
        (tmp_path / "robustness.json").write_bytes(content)
    selection = select([str(tmp_path)])
    (run,) = selection.runs
    assert run.robustness is None
    assert selection.skipped == [(tmp_path / "robustness.json", reason)]


def test_figures_under_corruptions_come_with_their_run(tmp_path):
    write_robustness(write_run(tmp_path))
    (run,) = select([str(tmp_path)]).runs
    assert QUANTITIES["corrupted_accuracy"].of(run) == run.robustness.mean_accuracy == 0.8
