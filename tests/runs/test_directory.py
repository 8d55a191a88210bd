import os

import pytest

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import lock_directory
from mnist_vision.runs.directory import RunDirectory, find_checkpoint
from mnist_vision.runs.record import Evaluation, Job, Results, TrainingResults
from mnist_vision.runs.robustness_record import Robustness
from tests.report.fixtures import write_job, write_robustness, write_run, write_untested_run


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_checkpoint_that_is_no_file_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo("pipe")
    for path, reason in {
        "none.ckpt": "no such file",
        "loop": "cannot be read (Too many levels of symbolic links)",
        "pipe": "cannot be read (Not a regular file)",
        ".": "cannot be read (Is a directory)",
        "a\0b": "cannot be read (Not a valid path)",
    }.items():
        with pytest.raises(UserError) as refused:
            find_checkpoint(path)
        assert str(refused.value).startswith(f"ckpt_path={path}: {reason}; give a .ckpt file")
    with pytest.raises(
        UserError, match=r"\(5,000 characters\): .*\(File name too long\)"
    ) as refused:
        find_checkpoint("x" * 5000)
    assert len(str(refused.value)) < 300


def test_a_new_directory_is_made_and_held(tmp_path):
    directory = RunDirectory(tmp_path / "a" / "b")
    with directory.take():
        assert names(directory.path) == {".lock"}
        with pytest.raises(UserError, match="another process"), directory.take(resumes=True):
            pass
    with directory.take():
        pass


@pytest.mark.parametrize(
    "sign", ["results.json", "evaluation.json", "ensemble.json", "checkpoints/last.ckpt"]
)
def test_a_directory_with_a_run_is_taken_by_that_run_alone(tmp_path, sign):
    (tmp_path / sign).parent.mkdir(exist_ok=True)
    (tmp_path / sign).write_text("old")
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "mlflow.db-journal").touch()  # left by a killed process
    directory = RunDirectory(tmp_path)
    with pytest.raises(UserError, match=r"holds a run; .*overwrite=true"), directory.take():
        pass
    assert (tmp_path / sign).read_text() == "old"
    with directory.take(resumes=True):
        assert (tmp_path / sign).read_text() == "old"
    (tmp_path / "letter.txt").write_text("dear")
    with directory.take(overwrite=True):
        assert names(tmp_path) == {".lock", "letter.txt"}


def test_checkpoints_that_a_killed_run_left_half_written_are_deleted(tmp_path, kill_while_writing):
    directory = RunDirectory(tmp_path)
    directory.last_checkpoint.parent.mkdir()
    directory.last_checkpoint.touch()
    kill_while_writing(directory.last_checkpoint)
    kill_while_writing(directory.best_checkpoint)
    with directory.take(resumes=True):
        assert names(directory.last_checkpoint.parent) == {"last.ckpt"}


def test_a_directory_of_a_run_that_failed_early_is_free(tmp_path):
    (tmp_path / "train.log").write_text("error")
    with RunDirectory(tmp_path).take():
        assert (tmp_path / "train.log").read_text() == "error"


def test_what_another_process_holds_is_not_overwritten(tmp_path):
    write_run(tmp_path)
    held = lock_directory(tmp_path, "hydra.run.dir")
    refused = pytest.raises(UserError, match="another process")
    with held, refused, RunDirectory(tmp_path).take(overwrite=True):
        pass
    assert (tmp_path / "results.json").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    refused = pytest.raises(UserError, match=r"hydra\.run\.dir=.*file/x: cannot be made")
    with refused, RunDirectory(tmp_path / "file" / "x").take():
        pass


def test_a_run_is_found_from_its_checkpoint_and_a_copy_lies_in_none(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.last_checkpoint.parent.mkdir(parents=True)
    directory.last_checkpoint.touch()
    assert RunDirectory.of_checkpoint(directory.last_checkpoint) is None  # checkpoints of another
    (tmp_path / "run" / "train.log").touch()
    found = RunDirectory.of_checkpoint(directory.last_checkpoint)
    assert found.is_same(directory)
    assert RunDirectory.of_checkpoint(tmp_path / "last.ckpt") is None


def test_results_and_predictions_are_written_and_read(tmp_path):
    first = RunDirectory(write_run(tmp_path / "first"))
    results, predictions = first.read(Results), first.read_predictions()
    second = RunDirectory(tmp_path / "second")
    second.write(results, predictions)
    assert second.read(Results) == results
    assert (second.read_predictions().scores == predictions.scores).all()
    assert second.find_test() == results.test
    assert second.find(Job) is None
    assert RunDirectory(tmp_path).find(Results) is None


def test_results_of_a_run_that_goes_on_are_kept_by_their_own_epoch(tmp_path):
    directory = RunDirectory(write_run(tmp_path, epochs=7))
    before = (tmp_path / "results.json").read_bytes()
    directory.put_results_aside()
    assert not (tmp_path / "results.json").exists()
    assert (tmp_path / "results_epoch_7.json").read_bytes() == before
    directory.put_results_aside()  # nothing is left to do
    write_run(tmp_path, epochs=7, seed=9)
    directory.put_results_aside()
    assert (tmp_path / "results_epoch_7.json").read_bytes() == before
    aside = tmp_path / "results_epoch_7_2.json"
    second = aside.read_bytes()
    write_run(tmp_path, epochs=7)
    (tmp_path / "results_epoch_7.json").unlink()
    directory.put_results_aside()
    assert aside.read_bytes() == second
    write_run(tmp_path, epochs=8)
    found = directory.find_all_results()
    assert [found[0].epochs, *sorted((each.epochs, each.seed) for each in found[1:])] == [
        8, (7, 0), (7, 9),
    ]  # fmt: skip


def test_the_results_of_a_test_replace_those_without_it(tmp_path):
    directory = RunDirectory(write_untested_run(tmp_path, epochs=7))
    assert directory.is_complete
    assert directory.holds_run()
    assert directory.find_results() == directory.read(TrainingResults)
    assert directory.find_test() is None
    directory.put_results_aside()
    assert names(tmp_path) == {"training_epoch_7.json"}
    assert not directory.is_complete
    assert [each.epochs for each in directory.find_all_results()] == [7]
    write_untested_run(tmp_path, epochs=9)
    tested = RunDirectory(write_run(tmp_path / "tested")).read(Results)
    directory.write(tested)
    assert names(tmp_path) == {"results.json", "tested", "training_epoch_7.json"}
    assert directory.find_results() == tested
    with directory.take(overwrite=True):
        assert names(tmp_path) == {".lock", "tested"}


def test_figures_under_corruptions_go_with_the_results_they_belong_to(tmp_path):
    directory = RunDirectory(write_run(tmp_path, epochs=7))
    write_robustness(tmp_path)
    before = (tmp_path / "robustness.json").read_bytes()
    directory.put_results_aside()
    assert (tmp_path / "robustness_epoch_7.json").read_bytes() == before
    assert not (tmp_path / "robustness.json").exists()
    write_robustness(tmp_path)  # by a run that was killed before it wrote its results
    directory.put_results_aside()
    assert names(tmp_path) == {
        "results_epoch_7.json", "robustness_epoch_7.json", "test_predictions.npz",
    }  # fmt: skip
    with directory.take(overwrite=True):
        assert names(tmp_path) == {".lock"}


def test_figures_under_corruptions_are_written_and_read(tmp_path):
    write_robustness(tmp_path)
    record = RunDirectory(tmp_path).read(Robustness)
    RunDirectory(tmp_path / "b").write(record)
    assert RunDirectory(tmp_path / "b").read(Robustness) == record
    write_robustness(tmp_path, corruptions={})
    with pytest.raises(UserError, match=r"^robustness.json: corruptions={}: .*at least 1 item"):
        RunDirectory(tmp_path).read(Robustness)


def test_a_job_is_written_and_read(tmp_path):
    job = RunDirectory(write_job(tmp_path / "a")).read(Job)
    RunDirectory(tmp_path / "b").write(job)
    assert RunDirectory(tmp_path / "b").read(Job) == job
    (tmp_path / "b" / "job.json").write_text("{")
    assert RunDirectory(tmp_path / "b").find(Job) is None


@pytest.mark.parametrize(
    "read",
    [
        RunDirectory.read_predictions,
        *(lambda directory, kind=kind: directory.read(kind) for kind in (Results, Evaluation, Job)),
    ],
)
def test_what_is_missing_is_named(tmp_path, read):
    with pytest.raises(UserError, match=r"(results|predictions|evaluation|job).*: is missing"):
        read(RunDirectory(tmp_path))
