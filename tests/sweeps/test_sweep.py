"""Sweeps through the command line: which jobs run, what the table shows."""

import errno
import json
import shutil
import signal
import weakref

import pytest
import torch

from mnist_vision.common.errors import Stopped, UserError
from mnist_vision.common.files import lock_directory
from mnist_vision.models.cnn import CNN
from mnist_vision.runs.directory import RunDirectory
from tests.conftest import limited_file_size
from tests.sweeps.conftest import SHORT, only_sweep, table_of


def test_a_failing_job_is_recorded_and_the_others_run(sweep, tmp_path):
    code, output = sweep("optimizer.lr=0.001,-1", "seed=0,1")
    assert code == 1
    reason = "optimizer.lr=-1: must be a number above 0"
    assert output.err == f"error: 2 of 4 jobs did not complete: {reason}\n"
    assert "2 of 4 jobs are complete" in output.out
    assert "sweep.resume=outputs/multirun/" in output.out
    rows = table_of(only_sweep(tmp_path))
    assert [(row["optimizer.lr"], row["seed"]) for row in rows] == [
        ("0.001", "0"), ("0.001", "1"), ("-1", "0"), ("-1", "1"),
    ]  # fmt: skip
    assert [row["status"] for row in rows] == ["completed", "completed", "failed", "failed"]
    for row in rows[:2]:
        results = json.loads((only_sweep(tmp_path) / row["directory"] / "results.json").read_text())
        assert float(row["test accuracy"]) == pytest.approx(results["test"]["accuracy"], abs=6e-5)
        assert float(row["test F1"]) == pytest.approx(results["test"]["f1"], abs=6e-5)
        assert results["settings"]["seed"] == int(row["seed"])
        assert f"seed={row['seed']}" in results["overrides"]
    assert rows[2]["reason"] == reason
    markdown = (only_sweep(tmp_path) / "sweep.md").read_text()
    assert "| job" in markdown
    assert markdown.count("\n| ") == 5
    assert output.out.count(" completed in ") == 2
    assert output.out.count(" failed in ") == 2


@pytest.mark.parametrize("end", [SystemExit(0), MemoryError("no memory"), ValueError("odd")])
def test_however_a_job_ends_it_ends_alone(sweep, tmp_path, monkeypatch, end):
    training_step = CNN.training_step

    def fail_for_seed_0(self, batch, batch_idx):
        if torch.initial_seed() == 0:
            raise end
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(CNN, "training_step", fail_for_seed_0)
    code, output = sweep("seed=0,1")
    assert code == 1
    rows = table_of(only_sweep(tmp_path))
    assert [row["status"] for row in rows] == ["failed", "completed"]
    assert type(end).__name__ in rows[0]["reason"]
    assert "Traceback" not in output.out + output.err


def test_memory_of_a_failed_job_is_freed_before_the_next_one_starts(sweep, monkeypatch):
    held, at_start = [], []
    training_step, on_fit_start = CNN.training_step, CNN.on_fit_start

    def note(self):
        at_start.append([reference() for reference in held])
        on_fit_start(self)

    def hold_and_fail(self, batch, batch_idx):
        if torch.initial_seed() == 0:
            ballast = torch.empty(1000)
            held.extend([weakref.ref(ballast), weakref.ref(self), weakref.ref(self.trainer)])
            raise MemoryError("no memory")
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(CNN, "on_fit_start", note)
    monkeypatch.setattr(CNN, "training_step", hold_and_fail)
    sweep("seed=0,1")
    assert at_start == [[], [None, None, None]]


def test_a_stop_ends_the_sweep_also_on_a_full_disk(sweep, tmp_path, monkeypatch):
    def stop(self, batch, batch_idx):
        monkeypatch.setattr(RunDirectory, "write", find_no_space)
        raise Stopped(signal.SIGINT)

    def find_no_space(self, record):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CNN, "training_step", stop)
    code, output = sweep("seed=0,1", "hydra.sweep.dir=grid")
    assert code == 130
    assert output.err == "error: stopped by SIGINT; 2 of 2 jobs did not complete\n"
    assert [row["status"] for row in table_of(tmp_path / "grid")] == ["interrupted", "not run"]


def test_a_search_all_of_whose_trials_fail_says_why(sweep, tmp_path):
    pytest.importorskip("optuna")
    code, output = sweep("search=optuna_cnn", "hydra.sweeper.n_trials=2", "data.val_size=-5")
    assert code == 1
    assert "2 of 2 jobs did not complete: data.val_size=-5: must be a whole" in output.err
    assert [row["status"] for row in table_of(only_sweep(tmp_path))] == ["failed", "failed"]


def test_the_search_over_rates_of_vgg16_runs(digits, run_task, tmp_path):
    pytest.importorskip("optuna")
    short = [setting for setting in SHORT if not setting.startswith("model.")]
    search = ("search=optuna_vgg16", "hydra.sweeper.n_trials=1", "model.weights=null")
    code, output = run_task(*short, *search)
    assert code == 0, output.err
    (row,) = table_of(only_sweep(tmp_path))
    assert row["status"] == "completed"


def test_values_may_be_found_by_a_pattern(sweep, tmp_path):
    code, output = sweep("optimizer=glob(adam*)")
    assert code == 0, output.err
    assert [row["optimizer"] for row in table_of(only_sweep(tmp_path))] == ["adam", "adamw"]


def test_a_search_goes_on_after_a_failed_trial(sweep, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    calls = []
    on_fit_start = CNN.on_fit_start

    def fail_first(self):
        calls.append(None)
        if len(calls) == 1:
            raise UserError("the first trial fails")
        on_fit_start(self)

    monkeypatch.setattr(CNN, "on_fit_start", fail_first)
    code, output = sweep("search=optuna_cnn", "debug=smoke", "hydra.sweeper.n_trials=3")
    assert code == 1
    assert output.err.endswith("error: 1 of 3 jobs did not complete: the first trial fails\n")
    rows = table_of(only_sweep(tmp_path))
    assert [row["status"] for row in rows] == ["failed", "completed", "completed"]


def test_jobs_with_the_same_settings_are_one_run(sweep, tmp_path):
    code, output = sweep("seed=0", "model.hidden=8,8", "hydra.sweep.dir=grid")
    assert code == 0
    assert output.out.count("epoch 1/1") == 1
    assert len(table_of(tmp_path / "grid")) == 2
    assert len(list(tmp_path.glob("grid/*/results.json"))) == 1


def test_other_commands_sweep_too(sweep, run_here, tmp_path):
    sweep("seed=0,1", "hydra.sweep.dir=grid")
    paths = sorted(str(path) for path in tmp_path.glob("grid/*/checkpoints/best.ckpt"))
    code, output = run_here(
        "evaluate", "-m", f"ckpt_path={','.join(paths)}", "trainer.accelerator=cpu"
    )
    assert code == 0, output.err
    rows = table_of(only_sweep(tmp_path))
    assert [(row["ckpt_path"], row["status"]) for row in rows] == [
        (path, "completed") for path in paths
    ]
    assert sorted(row["test accuracy"] for row in rows) == sorted(
        row["test accuracy"] for row in table_of(tmp_path / "grid")
    )


def test_a_directory_holds_one_sweep(sweep, tmp_path):
    assert sweep("hydra.sweep.dir=grid")[0] == 0
    code, output = sweep("hydra.sweep.dir=grid")
    assert code == 1
    assert output.err.startswith("error: hydra.sweep.dir=grid: holds a sweep; choose another")
    with lock_directory(tmp_path / "grid", "hydra.sweep.dir"):
        code, output = sweep("hydra.sweep.dir=grid", "sweep.resume=true")
    assert code == 1
    assert "another process is writing to this directory" in output.err
    assert "hydra.sweep.dir=DIR" in output.err


def test_a_sweep_that_finds_no_space_is_one_line_and_leaves_no_directory(run_task, tmp_path):
    with limited_file_size(10):
        code, output = run_task("-m", "seed=0,1", "hydra.sweep.dir=grid")
    assert code == 1
    assert output.err.startswith("error: grid/sweep.json: File too large; raise the limit")
    assert output.err.endswith(", or choose another directory with hydra.sweep.dir=DIR\n")
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_is_shown_all_the_same(sweep, tmp_path):
    (tmp_path / "grid" / "sweep.csv").mkdir(parents=True)
    code, output = sweep("seed=0,-1", "hydra.sweep.dir=grid")
    assert code == 1
    assert "1 of 2 jobs are complete" in output.out
    assert output.err.startswith("error: grid/sweep.csv: Is a directory; move this folder away")
    assert "hydra.sweep.dir=DIR; 1 of 2 jobs did not complete: seed=-1" in output.err
    assert output.err.count("\n") == 1


# Arguments, and text that the one error line must contain.
MISTAKES = {
    "ckpt_path=a.ckpt,b.ckpt": "ckpt_path: continues one run; a sweep is continued with",
    "overwrite=true": "overwrite=true: replaces one run; choose another hydra.sweep.dir=DIR",
    "hydra.sweep.subdir=x": "hydra.sweep.subdir=x: must contain ${fingerprint:}",
    "model.hidden=range(0,0)": "no job to run: a setting has an empty list of values",
    "--config-dir=.": "--multirun: cannot be combined with --config-dir or --config-path",
    "model=cnn,cnm": "model=cnm: unknown; did you mean cnn?",
    "optimzer.lr=1,2": "unknown key optimzer.lr; did you mean optimizer.lr?",
    "trainer.max_epochs=-3": "trainer.max_epochs=-3: must be a whole number of at least 1",
    "sweep.resume=nowhere": "sweep.resume=nowhere: is not the directory of a sweep",
    "sweep.resume=true": "outputs/multirun has no sweep of this command",
    "hydra.sweep.dir=/dev/null/x": "or choose another directory with hydra.sweep.dir=DIR",
    "hydra/launcher=jobilb": "hydra/launcher=jobilb: unknown; did you mean joblib?",
    "search=optuna_cmm": "search=optuna_cmm: unknown; did you mean optuna_cnn?",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_directory(run_task, tmp_path, argument):
    code, output = run_task("-m", argument, "seed=0,1")
    assert code == 1
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert MISTAKES[argument] in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("srun") is not None, reason="there is a SLURM")
def test_slurm_where_there_is_none_is_one_line(run_task):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    code, output = run_task(
        "-m", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "seed=0,1,2"
    )
    assert code == 1
    assert 'Could not detect "srun"' in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_launchers_spread_a_sweep_over_processes(command, mnist_root, tmp_path, launcher):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    args = ("-m", f"hydra/launcher={launcher}", "debug=smoke", "seed=0,1", "logger=csv")
    done = command("train", *args)
    assert done.returncode == 0, done.stderr
    rows = table_of(only_sweep(tmp_path))
    assert [(row["seed"], row["status"]) for row in rows] == [
        ("0", "completed"),
        ("1", "completed"),
    ]
    assert "2 of 2 jobs are complete" in done.stdout
    done = command("train", *args, "sweep.resume=true")
    assert done.returncode == 0, done.stderr
    assert table_of(only_sweep(tmp_path)) == rows
