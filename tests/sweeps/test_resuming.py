"""Sweeps that are resumed: which jobs run again, what is kept."""

import fcntl
import json
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mnist_vision.common.errors import Stopped
from mnist_vision.evaluation.corruptions.suite import SUITES
from mnist_vision.models.cnn import CNN
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.settings import quoted
from tests.evaluation.test_robustness import SUITE
from tests.sweeps.conftest import figures, table_of


def test_a_stopped_sweep_lists_the_unfinished_jobs_and_resuming_runs_them(
    sweep, tmp_path, monkeypatch
):
    """Stopped in the second epoch of its second job."""
    more = ("seed=0,1,2", "trainer.max_epochs=3")
    code, _ = sweep(*more, "hydra.sweep.dir=whole")
    assert code == 0
    training_step = CNN.training_step

    def stop(self, batch, batch_idx):
        if torch.initial_seed() == 1 and self.current_epoch == 1:
            raise Stopped(signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop)
        code, output = sweep(*more, "hydra.sweep.dir=cut")
    assert code == 143
    assert output.err == "error: stopped by SIGTERM; 2 of 3 jobs did not complete\n"
    statuses = [row["status"] for row in table_of(tmp_path / "cut")]
    assert statuses == ["completed", "interrupted", "not run"]

    code, output = sweep(*more, "sweep.resume=cut")
    assert code == 0, output.out
    assert "completed" in output.out
    assert output.out.count("epoch 1/3") == 1  # that of the third job alone
    assert output.out.count("epoch 2/3") == 2
    assert figures(tmp_path / "cut") == figures(tmp_path / "whole")


def test_a_search_that_is_resumed_makes_the_same_proposals(sweep, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    search = (
        "search=optuna_cnn", "debug=smoke", "trainer.max_epochs=3", "trainer.limit_train_batches=2",
        "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.n_startup_trials=2",
    )  # fmt: skip
    code, output = sweep(*search, "hydra.sweep.dir=whole")
    assert code == 0, output.err
    training_step, steps = CNN.training_step, []

    def stop(self, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 14:  # in the third trial, of six steps each
            raise Stopped(signal.SIGINT)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop)
        code, _ = sweep(*search, "hydra.sweep.dir=cut")
    assert code == 130
    assert len(table_of(tmp_path / "cut")) == 3
    code, _ = sweep(*search, "hydra.sweep.dir=cut", "sweep.resume=true")
    assert code == 0
    assert figures(tmp_path / "cut") == figures(tmp_path / "whole")
    assert (tmp_path / "cut" / "optimization_results.yaml").read_text() == (
        tmp_path / "whole" / "optimization_results.yaml"
    ).read_text()


def test_resuming_runs_new_jobs_and_no_complete_ones(sweep, tmp_path, monkeypatch):
    sweep("seed=0,1", "hydra.sweep.dir=grid")
    before = {path: path.read_bytes() for path in tmp_path.rglob("results.json")}
    code, output = sweep("seed=2,1,0", "hydra.sweep.dir=grid", "sweep.resume=true")
    assert code == 0
    assert output.out.count("epoch 1/1") == 1
    assert {path: path.read_bytes() for path in before} == before
    assert [row["seed"] for row in table_of(tmp_path / "grid")] == ["2", "1", "0"]


def test_a_job_killed_between_its_results_and_its_record_gets_both(sweep, tmp_path):
    sweep("seed=0", "hydra.sweep.dir=grid")
    (record,) = (tmp_path / "grid").glob("*/job.json")
    record.write_text(record.read_text().replace("completed", "running"))
    before = figures(tmp_path / "grid")
    code, output = sweep("seed=0", "hydra.sweep.dir=grid", "sweep.resume=true")
    assert code == 0
    assert "epoch" not in output.out
    assert figures(tmp_path / "grid") == before


def test_what_a_killed_job_left_half_written_is_deleted(sweep, tmp_path, kill_while_writing):
    sweep("seed=0", "hydra.sweep.dir=grid")
    (last,) = tmp_path.glob("grid/*/checkpoints/last.ckpt")
    for path in (last, last.parents[1] / "results.json", tmp_path / "grid" / "sweep.csv"):
        kill_while_writing(path)
    assert sweep("seed=0", "hydra.sweep.dir=grid", "sweep.resume=true")[0] == 0
    hidden = {path.name for path in tmp_path.rglob(".*")}
    assert hidden == {".hydra", ".lock"}


def test_a_repaired_job_replaces_the_failed_one(sweep, tmp_path, monkeypatch):
    """The overrides stay the same, but an environment variable changes their meaning."""
    grid = ("trainer.accelerator=cpu,${oc.env:ACCELERATOR}", "hydra.sweep.dir=grid")
    monkeypatch.setenv("ACCELERATOR", "abacus")
    assert sweep(*grid)[0] == 1
    monkeypatch.setenv("ACCELERATOR", "auto")
    code, output = sweep(*grid, "sweep.resume=true")
    assert code == 0, output.out
    assert [row["status"] for row in table_of(tmp_path / "grid")] == ["completed", "completed"]


def test_a_job_that_another_process_is_running_is_waited_for(sweep, tmp_path):
    assert sweep("seed=0", "hydra.sweep.dir=grid")[0] == 0
    (run,) = [path.parent for path in tmp_path.glob("grid/*/results.json")]
    held = (run / ".lock").open("a")
    fcntl.flock(held, fcntl.LOCK_EX)
    threading.Timer(1, held.close).start()
    code, output = sweep("seed=0", "hydra.sweep.dir=grid", "sweep.resume=true")
    assert code == 0
    assert "epoch" not in output.out


def test_directories_of_jobs_may_be_nested(sweep, tmp_path):
    nested = "hydra.sweep.subdir=${hydra.runtime.choices.model}/${fingerprint:}"
    code, output = sweep("seed=0,1", "hydra.sweep.dir=grid", nested)
    assert code == 0, output.err
    assert len(table_of(tmp_path / "grid")) == 2
    assert len(list(tmp_path.glob("grid/cnn/*/results.json"))) == 2


def test_a_sweep_may_be_called_anything(sweep, tmp_path):
    name = "it's mine, 100 % ü"
    code, output = sweep("seed=0,-1", f"hydra.sweep.dir={quoted(Path(name))}")
    assert code == 1
    (command,) = [line for line in output.out.splitlines() if "sweep.resume=" in line]
    resume = shlex.split(command)[-1]
    code, output = sweep("seed=0", resume)
    assert code == 0, output.err
    assert "epoch" not in output.out
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_one_job_of_a_search_can_be_continued_alone(sweep, run_task, tmp_path):
    pytest.importorskip("optuna")
    search = ("search=optuna_cnn", "hydra.sweeper.n_trials=1", "trainer.max_epochs=1")
    assert sweep(*search, "hydra.sweep.dir=search")[0] == 0
    (last,) = tmp_path.glob("search/*/checkpoints/last.ckpt")
    code, output = run_task(f"ckpt_path={last}", "trainer.max_epochs=2")
    assert code == 0, output.err
    assert "epoch 2/2" in output.out
    assert [path.name for path in tmp_path.iterdir()] == ["search"]


def only_job(folder):
    (path,) = folder.glob("*/job.json")
    return RunDirectory(path.parent)


def test_a_job_that_was_trained_on_alone_is_complete(sweep, run_task, tmp_path):
    grid = ("seed=0", "trainer.max_epochs=1", "hydra.sweep.dir=grid")
    assert sweep(*grid)[0] == 0
    before = figures(tmp_path / "grid")
    last = only_job(tmp_path / "grid").last_checkpoint
    assert run_task(f"ckpt_path={last}", "trainer.max_epochs=5")[0] == 0
    code, output = sweep(*grid, "sweep.resume=true")
    assert code == 0, output.err
    assert "already completed" in output.out
    assert f"accuracy {before[0]['test accuracy']}" in output.out
    assert figures(tmp_path / "grid") == before


def test_an_interrupted_job_that_was_completed_alone_is_complete(
    sweep, run_task, tmp_path, monkeypatch
):
    """Completed with another setting that does not change the figures."""
    grid = ("seed=0", "trainer.max_epochs=2", "hydra.sweep.dir=grid")
    interrupt(sweep, monkeypatch, *grid)
    last = only_job(tmp_path / "grid").last_checkpoint
    assert run_task(f"ckpt_path={last}", "trainer.log_every_n_steps=2")[0] == 0
    code, output = sweep(*grid, "sweep.resume=true")
    assert code == 0, output.err
    assert "already completed" in output.out
    assert table_of(tmp_path / "grid")[0]["status"] == "completed"


@pytest.mark.parametrize("limit", ["trainer.max_epochs=2", "trainer.max_steps=3"])
def test_an_interrupted_job_that_was_trained_on_alone_is_not_run(
    sweep, run_task, tmp_path, monkeypatch, limit
):
    grid = ("seed=0", limit, "hydra.sweep.dir=grid")
    interrupt(sweep, monkeypatch, "trainer.max_epochs=9", *grid)
    job = only_job(tmp_path / "grid")
    longer = ("trainer.max_epochs=3", "trainer.max_steps=-1")
    code, output = run_task(f"ckpt_path={job.last_checkpoint}", *longer)
    assert code == 0, output.err
    before = {path: path.read_bytes() for path in job.path.glob("*/*.ckpt")}
    folder = f"grid/{job.path.name}"
    alone = f"{folder}: was trained on alone, and its results are not those of this job"
    damaged = f"{folder}/checkpoints/last.ckpt: is damaged, so the job cannot go on"
    for content, problem in ((b"damaged", damaged), (before[job.last_checkpoint], alone)):
        job.last_checkpoint.write_bytes(content)
        code, output = sweep("trainer.max_epochs=9", *grid, "sweep.resume=true")
        assert code == 1
        assert output.err == (
            f"error: 1 of 1 jobs did not complete: {problem}; move {folder} away to run the job "
            "again\n"
        )
    assert {path: path.read_bytes() for path in before} == before


def test_a_job_whose_last_checkpoint_is_damaged_starts_anew(sweep, tmp_path, monkeypatch):
    grid = ("seed=0", "trainer.max_epochs=3", "hydra.sweep.dir=grid")
    interrupt(sweep, monkeypatch, *grid)
    job = only_job(tmp_path / "grid")
    job.last_checkpoint.write_bytes(b"damaged")
    code, output = sweep(*grid, "sweep.resume=true")
    assert code == 0, output.err
    assert "last.ckpt: corrupt, or not a checkpoint" in output.out
    assert "renamed to last_damaged.ckpt; the job starts anew" in output.out
    assert "epoch 1/3" in output.out
    aside = job.last_checkpoint.with_name("last_damaged.ckpt")
    assert aside.read_bytes() == b"damaged"
    resumed = figures(tmp_path / "grid")
    assert sweep(*grid[:2], "hydra.sweep.dir=whole")[0] == 0
    assert resumed == figures(tmp_path / "whole")


def interrupt(sweep, monkeypatch, *args):
    """Stop a sweep in the second epoch of its first job."""
    training_step = CNN.training_step

    def stop(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise Stopped(signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop)
        assert sweep(*args)[0] == 143


def test_submitit_may_queue_a_job_again(sweep, tmp_path, monkeypatch):
    """If a job is preempted, submitit ends its process with a special exit code."""

    def leave(self):
        raise SystemExit(144)

    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    monkeypatch.setattr(CNN, "on_fit_start", leave)
    code, _ = sweep("seed=0", "hydra.sweep.dir=grid")
    assert code == 144
    (record,) = [json.loads(path.read_text()) for path in tmp_path.glob("grid/*/job.json")]
    assert record["status"] == "stopped"


def test_a_complete_job_is_measured_under_a_suite_that_is_asked_for_later(
    sweep, tmp_path, monkeypatch
):
    monkeypatch.setitem(SUITES, "corruptions", SUITE)
    arguments = ("seed=0", "hydra.sweep.dir=grid", f"data.root={tmp_path / 'data'}")
    sweep(*arguments)
    (path,) = tmp_path.glob("grid/*/results.json")
    before = path.read_bytes()
    for _ in range(2):  # the second time there is nothing left to measure
        code, output = sweep(*arguments, "suite=corruptions", "sweep.resume=true")
        assert code == 0, output.err
        assert "epoch" not in output.out
        record = json.loads(path.with_name("robustness.json").read_text())
        assert record["clean_accuracy"] == json.loads(before)["test"]["accuracy"]
        assert path.read_bytes() == before
    assert "already completed" in output.out


def test_the_jobs_of_a_search_are_tested_later_without_training(sweep, tmp_path):
    code, output = sweep("seed=0,1", "test=false", "hydra.sweep.dir=grid")
    assert code == 0, output.err
    assert output.out.count(", val accuracy 0.") == 2
    assert all(
        row["val accuracy"] and not row["test accuracy"] for row in table_of(tmp_path / "grid")
    )
    before = {
        path.parent: json.loads(path.read_text()) for path in tmp_path.glob("grid/*/training.json")
    }
    assert len(before) == 2
    weights = {path: path.read_bytes() for path in tmp_path.glob("grid/*/checkpoints/*.ckpt")}
    code, output = sweep("seed=0,1", "test=false", "sweep.resume=grid")
    assert (code, output.out.count("already completed")) == (0, 2)
    code, output = sweep("seed=0,1", "test=true", "sweep.resume=grid")
    assert code == 0, output.err
    assert "epoch 1/" not in output.out
    assert {path: path.read_bytes() for path in weights} == weights
    for folder, trained in before.items():
        results = json.loads((folder / "results.json").read_text())
        assert {name: results[name] for name in trained if name != "seconds"} | {
            "seconds": {"fit": results["seconds"]["fit"]}
        } == trained
        assert not (folder / "training.json").exists()
    assert all(row["test accuracy"] for row in table_of(tmp_path / "grid"))


def test_resume_true_continues_the_newest_sweep_of_the_same_command(sweep, tmp_path):
    for seeds in ("seed=0", "seed=0,1"):
        assert sweep(seeds)[0] == 0
    code, output = sweep("seed=0,1", "sweep.resume=true")
    assert code == 0
    assert "epoch" not in output.out
    assert len(list(tmp_path.glob("outputs/multirun/*"))) == 2
    code, output = sweep("seed=0,1,2", "sweep.resume=true")
    assert code == 1
    assert output.err.startswith("error: sweep.resume=true: outputs/multirun has no sweep of this")
    assert output.err.count("\n") == 1


# With the real MNIST and real processes.
def test_a_killed_sweep_is_finished_as_if_it_had_not_been(command, mnist_root, tmp_path):
    args = (
        "-m", "debug=smoke", "trainer.max_epochs=2", "seed=0,1", "logger=csv",
        "hydra.sweep.dir=sweep",
    )  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "mnist_vision.train", *args], cwd=tmp_path, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.rglob("best.ckpt"))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    statuses = [json.loads(p.read_text())["status"] for p in tmp_path.glob("sweep/*/job.json")]
    assert sorted(statuses) == ["completed", "running"]
    done = command("train", *args, "sweep.resume=true")
    assert done.returncode == 0, done.stderr
    finished = figures(tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep")
    assert command("train", *args).returncode == 0
    assert figures(tmp_path / "sweep") == finished


@pytest.mark.parametrize("end", ["missing", "damaged"])
def test_a_job_that_lacks_its_test_is_not_trained_again(sweep, tmp_path, end):
    sweep("seed=0", "test=false", "hydra.sweep.dir=grid")
    job = only_job(tmp_path / "grid")
    job.last_checkpoint.unlink()
    if end == "damaged":
        job.last_checkpoint.write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in job.path.rglob("*.ckpt")}
    before |= {path: path.read_bytes() for path in job.path.glob("training.json")}
    code, output = sweep("seed=0", "test=true", "sweep.resume=grid")
    assert code == 1
    assert f"last.ckpt: is {end}, so the job cannot go on; move grid/" in output.out
    assert {path: path.read_bytes() for path in before} == before
