"""Resumed runs through the command line, on synthetic digits."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mnist_vision.runs.settings import quoted
from mnist_vision.training.checkpoints import read_checkpoint
from tests.conftest import results_of

SHORT = (
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2",
    "trainer.log_every_n_steps=1", "data.val_size=100", "data.batch_size=50", "model.widths=[4]",
    "logger=csv",
)  # fmt: skip


@pytest.fixture
def train(digits, run_task):
    return run_task


@pytest.fixture
def started(train, tmp_path):
    """Train for one epoch in a new directory; return the directory."""

    def start(*settings, name="run"):
        code, output = train(*SHORT, *settings, f"hydra.run.dir={quoted(name)}")
        assert code == 0, output.err
        return tmp_path / name

    return start


def last_of(run_dir):
    return run_dir / "checkpoints" / "last.ckpt"


def spoil(path, change):
    checkpoint = read_checkpoint(path)
    change(checkpoint)
    torch.save(checkpoint, path)


# Every way to write the argument that Hydra accepts.
WAYS = {
    "plain": "ckpt_path={}",
    "quoted": "ckpt_path='{}'",
    "doubly quoted": 'ckpt_path="{}"',
    "forced": "++ckpt_path={}",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("copied", [False, True])
def test_a_checkpoint_brings_the_settings_of_its_run(train, started, tmp_path, way, copied):
    run_dir = started("optimizer=sgd", "optimizer.lr=0.02", "seed=5", "data/augmentation=null")
    checkpoint = last_of(run_dir)
    if copied:
        checkpoint = tmp_path / "copy.ckpt"
        shutil.copy(last_of(run_dir), checkpoint)
        shutil.rmtree(run_dir)
    elif way == "plain":  # what Hydra wrote down is for people: nothing reads it
        (run_dir / ".hydra" / "overrides.yaml").write_bytes(b"\xff\x00")
    code, output = train(WAYS[way].format(checkpoint), "trainer.max_epochs=2")
    assert code == 0, output.err
    assert "seed 5" in output.out
    assert "epoch 1/2" not in output.out
    if copied:
        (run_dir,) = tmp_path.glob("outputs/cnn/*")
    else:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    results = results_of(run_dir)
    assert results["epochs"] == 2
    assert results["settings"]["optimizer"]["_target_"] == "torch.optim.SGD"
    assert results["settings"]["optimizer"]["lr"] == 0.02
    assert results["settings"]["data"]["augmentation"] is None
    assert {"optimizer=sgd", "seed=5", "trainer.max_epochs=2"} <= set(results["overrides"])
    assert "momentum_buffer" in str(read_checkpoint(last_of(run_dir))["optimizer_states"])


def test_a_run_may_be_moved(train, started, tmp_path):
    moved = shutil.move(started(), tmp_path / "there")
    (best,) = Path(moved).glob("checkpoints/best.ckpt")
    code, output = train(f"ckpt_path={quoted(last_of(Path(moved)))}", "trainer.max_epochs=2")
    assert code == 0, output.err
    assert results_of(Path(moved))["epochs"] == 2
    assert "not this run's best" not in output.out
    assert best.exists()


@pytest.mark.parametrize("way", ["hydra.searchpath", "--config-dir"])
def test_a_run_continues_without_the_configuration_folder_it_was_started_with(train, tmp_path, way):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    experiment = "# @package _global_\ndefaults:\n  - override /optimizer: adamw\nseed: 7\n"
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(experiment)
    folder = {
        "hydra.searchpath": f"hydra.searchpath=[file://{tmp_path}/mine]",
        "--config-dir": f"--config-dir={tmp_path}/mine",
    }[way]
    code, output = train(folder, "experiment=own", *SHORT, "hydra.run.dir=run")
    assert code == 0, output.err
    shutil.rmtree(tmp_path / "mine")
    last = last_of(tmp_path / "run")
    # The same choice again is no change.
    code, output = train(f"ckpt_path={last}", "experiment=own", "trainer.max_epochs=2")
    assert code == 0, output.err
    results = results_of(tmp_path / "run")
    assert results["seed"] == 7
    assert results["settings"]["optimizer"]["_target_"] == "torch.optim.AdamW"


REFUSED = {
    "optimizer.lr=0.0001": "optimizer.lr=0.0001: the run was trained with optimizer.lr=0.001",
    "optimizer=sgd": "optimizer=sgd: the run was trained with optimizer=adam",
    "data/augmentation=strong": "data/augmentation=strong: the run was trained with",
    "model=vgg16": "model=vgg16: the run was trained with model=cnn",
    "experiment=lab/cnn": "experiment=lab/cnn: the run was trained with experiment=null",
    "debug=smoke": "debug=smoke: the run was trained with debug=null",
    "model.widths=[5]": "model.widths=[5]: the run was trained with model.widths=[4]",
    "seed=1": "seed=1: the run was trained with seed=0",
    "data.batch_size=10": "data.batch_size=10: the run was trained with data.batch_size=50",
    "trainer.precision=bf16-mixed": "trainer.precision=",
    "~callbacks.pictures": "~callbacks.pictures",
    "optimzer.lr=1": "unknown key optimzer.lr; did you mean optimizer.lr?",
    "overwrite=true": "overwrite=true: would delete ckpt_path=run/checkpoints/last.ckpt",
    "output_dir=other": "output_dir: cannot be set; set hydra.run.dir=DIR",
    "sweep.resume=true": "sweep.resume=True: resumes a sweep; add --multirun",
    "optimizer@model=adam": "unknown key optimizer@model",
    "--config-name=other": "--config-name: cannot be combined with ckpt_path",
}


def test_a_setting_that_must_not_change_is_refused_and_nothing_is_written(train, started, tmp_path):
    run_dir = started()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for argument, expected in REFUSED.items():
        code, output = train(f"ckpt_path={last_of(run_dir)}", "trainer.max_epochs=2", argument)
        assert code == 1, argument
        (line,) = output.err.splitlines()
        assert expected in line
        if "the run was" in expected:
            assert line.endswith("leave it out, or start a new run without ckpt_path")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_may_change_is_applied_and_recorded(train, started, tmp_path, mnist_root):
    run_dir = started()
    code, output = train(
        f"ckpt_path={last_of(run_dir)}", "trainer.max_epochs=2", "logger=tensorboard",
        "data.root=elsewhere", "model=cnn", "hydra.run.dir=new",
    )  # fmt: skip
    assert code == 0, output.err
    results = results_of(tmp_path / "new")
    assert results["epochs"] == 2
    assert results["settings"]["trainer"]["max_epochs"] == 2
    assert list(tmp_path.glob("new/tensorboard/events*"))
    kept = read_checkpoint(last_of(tmp_path / "new"))["run"]["settings"]
    assert kept["data"]["root"] == str(tmp_path / "elsewhere")
    assert kept["logger"].keys() == {"tensorboard"}
    assert (tmp_path / "new" / ".hydra" / "overrides.yaml").exists()
    assert results_of(run_dir)["epochs"] == 1  # the old run stays as it was


@pytest.mark.parametrize("argument", ["logger=null", "~logger", "logger=[]"])
def test_a_run_continues_without_a_logger(train, started, argument):
    run_dir = started()
    code, output = train(f"ckpt_path={last_of(run_dir)}", "trainer.max_epochs=2", argument)
    assert code == 0, output.err
    assert "train/loss" in results_of(run_dir)["history"][1]


def test_a_checkpoint_in_the_directory_of_another_run_continues_elsewhere(train, started, tmp_path):
    first, second = started("seed=1", name="first"), started("seed=2", name="second")
    stray = second / "checkpoints" / "stray.ckpt"
    shutil.copy(last_of(first), stray)
    before = {path: path.read_bytes() for path in second.rglob("*") if path.is_file()}
    code, output = train(f"ckpt_path={stray}", "trainer.max_epochs=2")
    assert code == 0, output.err
    assert {path: path.read_bytes() for path in second.rglob("*") if path.is_file()} == before
    (elsewhere,) = tmp_path.glob("outputs/cnn/*")
    assert results_of(elsewhere)["seed"] == 1


def test_a_directory_may_be_named_in_any_way_that_hydra_accepts(train, started, tmp_path):
    run_dir = started()
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    code, output = train(
        f"ckpt_path={last_of(run_dir)}", "trainer.max_epochs=2", "hydra.run={dir:new}"
    )
    assert code == 0, output.err
    assert results_of(tmp_path / "new")["epochs"] == 2
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_damaged_results_are_written_again_and_kept(train, started):
    run_dir = started()
    first = results_of(run_dir)
    (run_dir / "results.json").write_text("{bad")
    code, output = train(f"ckpt_path={last_of(run_dir)}")
    assert code == 0, output.err
    assert results_of(run_dir)["test"] == first["test"]
    assert (run_dir / "results_damaged.json").read_text() == "{bad"


def test_a_test_may_not_replace_the_run_that_it_tests(started, run_here):
    run_dir = started()
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    checkpoint = f"ckpt_path={run_dir}/checkpoints/best.ckpt"
    code, output = run_here("evaluate", checkpoint, "hydra.run.dir=run", "overwrite=true")
    assert code == 1
    assert "overwrite=true: would delete ckpt_path=run/checkpoints/best.ckpt" in output.err
    code, output = run_here("evaluate", checkpoint, "data.eval_batch_size=0")
    assert code == 1
    assert output.err.startswith("error: data.eval_batch_size=0: must be")
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_training_does_not_go_on_within_an_epoch(train, started):
    run_dir = started()
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    code, output = train(f"ckpt_path={run_dir}/checkpoints/best.ckpt", "trainer.max_epochs=4")
    assert code == 1
    assert output.err == (
        "error: ckpt_path=run/checkpoints/best.ckpt: was written within epoch 1, and training goes "
        "on from whole epochs alone; give the last.ckpt of its run\n"
    )
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_results_of_a_run_that_is_trained_on_are_kept_by_their_epoch(train, started):
    run_dir = started("trainer.max_epochs=3")
    code, output = train(f"ckpt_path={last_of(run_dir)}", "trainer.max_epochs=4")
    assert code == 0, output.err
    assert (run_dir / "results_epoch_3.json").exists()
    assert results_of(run_dir)["epochs"] == 4


def test_a_checkpoint_of_an_earlier_version_is_tested_with_the_data_named(train, run_here, started):
    run_dir = started()
    tested = results_of(run_dir)["test"]
    last = last_of(run_dir)
    spoil(last, lambda checkpoint: checkpoint.pop("run"))
    code, output = train(f"ckpt_path={last}", "trainer.max_epochs=2")
    assert code == 1
    (line,) = output.err.splitlines()
    assert "data, optimizer, scheduler, trainer and callbacks cannot be restored" in line
    code, output = run_here("evaluate", f"ckpt_path={last}", "trainer.accelerator=cpu")
    assert code == 1
    assert "does not store the settings of its run" in output.err
    code, output = run_here(
        "evaluate", f"ckpt_path={last}", "data=mnist", "trainer.accelerator=cpu"
    )
    assert code == 0, output.err
    assert f"test accuracy      {tested['accuracy']:.4f}" in output.out


TAMPERED = {
    "a callback": lambda run: run["settings"]["callbacks"].update(
        evil={"_target_": "os.system", "command": "touch ran"}
    ),
    "an argument": lambda run: run["settings"]["model"].update(
        widths={"_target_": "mnist_vision.data.download.subprocess.run", "args": ["touch", "ran"]}
    ),
    "a folder": lambda run: run["settings"]["callbacks"]["best_checkpoint"].update(
        dirpath="/tmp/elsewhere"
    ),
    "a folder above": lambda run: run["settings"]["logger"]["csv"].update(
        save_dir="${output_dir}/../../elsewhere"
    ),
    "a line": lambda run: run["settings"]["model"].update(_target_="a\nb\x1b[31m"),
    "an interpolation": lambda run: run["settings"]["data"].update(root="${oc.env:HOME}"),
    "the architecture": None,
    "logging": lambda run: run["settings"].update(
        hydra={"job_logging": {"handlers": {"file": {"class": "os.system"}}}}
    ),
    "defaults": lambda run: run["settings"].update(defaults=["/evil"]),
    "no settings": lambda run: run.update(settings=3),
    "a group": lambda run: run["settings"].update(optimizer=[1]),
    "a missing group": lambda run: run["settings"].pop("model"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_checkpoint_that_was_tampered_with_runs_nothing(train, run_here, started, tmp_path, how):
    last = last_of(started())
    change = TAMPERED[how]
    if change is None:
        spoil(last, lambda checkpoint: checkpoint.update(architecture="../../../evil"))
    else:
        spoil(last, lambda checkpoint: change(checkpoint["run"]))
    before = sorted(tmp_path.rglob("*"))
    code, output = train(f"ckpt_path={last}", "trainer.max_epochs=2")
    assert code == 1
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert output.err.rstrip("\n").isprintable()
    assert sorted(tmp_path.rglob("*")) == before
    if how == "an interpolation":
        code, output = run_here("evaluate", f"ckpt_path={last}", "trainer.accelerator=cpu")
        assert code == 1
        assert "is not a plain value" in output.err
    assert not list(tmp_path.rglob("ran"))


def test_a_network_trained_on_scenes_is_tested_on_scenes_by_default(train, run_here, tmp_path):
    sizes = ("data.num_train_scenes=20", "data.num_val_scenes=10", "data.num_test_scenes=12")
    short = [each for each in SHORT if not each.startswith("model.")]
    short += ["model=faster_rcnn", "data=mnist_scenes", *sizes, "data.batch_size=10"]
    code, output = train(*short, "hydra.run.dir=scenes")
    assert code == 0, output.err
    trained = results_of(tmp_path / "scenes")["test"]
    best = f"ckpt_path={tmp_path}/scenes/checkpoints/best.ckpt"
    code, output = run_here("evaluate", best, "trainer.accelerator=cpu")
    assert code == 0, output.err
    (path,) = tmp_path.glob("outputs/evaluate/*/evaluation.json")
    evaluation = yaml.safe_load(path.read_text())
    assert evaluation["test"] == trained
    # Others can be named, and a setting of the run replaced.
    code, output = run_here("evaluate", best, "data=mnist", "trainer.accelerator=cpu")
    assert code == 0, output.err
    assert "of 200" in output.out
    code, output = run_here(
        "evaluate", best, "data.root=/dev/null", "data.download=false", "trainer.accelerator=cpu"
    )
    assert code == 0, output.err  # the synthetic digits lie nowhere


def test_a_printed_command_can_be_pasted(tmp_path, mnist_root):
    """By a real shell, from a folder above the run."""
    name = 'a=b, c [d] {e} it\'s "mine" ü 100 % (f):g'
    python = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{python}:{os.environ['PATH']}"}
    arguments = [*SHORT, f"hydra.run.dir={quoted(f'runs/{name}')}"]
    command = [sys.executable, "-m", "mnist_vision.train", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (evaluate,) = [line for line in done.stdout.splitlines() if line.startswith("test it again")]
    evaluate = evaluate.removeprefix("test it again").strip()
    done = subprocess.run(
        evaluate,
        shell=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"runs/{name}/checkpoints/best.ckpt" in done.stdout


def test_the_record_of_how_a_run_was_started_stays(train, started):
    run_dir = started("seed=3")
    record = (run_dir / ".hydra" / "overrides.yaml").read_text()
    assert train(f"ckpt_path={last_of(run_dir)}", "trainer.max_epochs=2")[0] == 0
    assert (run_dir / ".hydra" / "overrides.yaml").read_text() == record
