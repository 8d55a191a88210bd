"""Whole runs: on synthetic digits in this process, on the real ones as a user starts them."""

import fcntl
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torchvision

from mnist_vision.models.cnn import CNN
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.settings import quoted
from mnist_vision.training.checkpoints import load_classifier, read_checkpoint
from tests.conftest import results_of
from tests.training.conftest import without_times

TINY = (
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
    "trainer.log_every_n_steps=1", "data.val_size=100", "data.batch_size=20",
)  # fmt: skip


def test_results_hold_what_was_promised(run):
    run_dir = run("seed=3")
    results = results_of(run_dir)
    assert results["version"] == 3
    assert results["architecture"] == "cnn"
    assert results["status"] == "completed"
    assert results["seed"] == 3
    assert results["epochs"] == 2
    assert results["num_parameters"] == results["num_trainable_parameters"] == 98_554
    assert results["weights"] is None
    metrics = {"train/loss", "train/accuracy", "train/f1", "val/accuracy", "val/f1"}
    for epoch, row in enumerate(results["history"], start=1):
        assert row.keys() == {"epoch", "step", "seconds"} | metrics
        assert row["epoch"] == epoch
        assert row["step"] == 4 * epoch
    last = results["history"][-1]
    assert results["train"] == {"loss": last["train/loss"], "accuracy": last["train/accuracy"]}
    accuracies = [row["val/accuracy"] for row in results["history"]]
    best = accuracies.index(max(accuracies))
    expected = {"epoch": best + 1, "step": 4 * (best + 1), "val_accuracy": accuracies[best]}
    assert results["best"] == expected
    assert results["ended_by"] == "trainer.max_epochs=2"
    assert results["test"]["num_images"] == 200
    assert results["seconds"]["fit"] > 0
    assert results["environment"]["torch"] == torch.__version__
    assert results["environment"]["device"] == "cpu"


def test_predictions_agree_with_the_results(run):
    run_dir = run()
    with np.load(run_dir / "test_predictions.npz") as predictions:
        targets, preds, scores = (predictions[k] for k in ("targets", "preds", "scores"))
    assert scores.shape == (200, 10)
    assert (scores.argmax(axis=1) == preds).all()
    test = results_of(run_dir)["test"]
    assert (targets == preds).mean() == test["accuracy"]
    assert (targets != preds).sum() == test["num_mistakes"]


def test_it_learns(run):
    run_dir = run("trainer.max_epochs=8", "data.batch_size=50", "data.augmentation=null")
    assert results_of(run_dir)["test"]["accuracy"] > 0.95


def test_the_tested_checkpoint_is_the_one_validation_chose(run):
    run_dir = run("trainer.max_epochs=4")
    history = results_of(run_dir)["history"]
    accuracies = [row["val/accuracy"] for row in history]
    best = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")
    assert best["epoch"] == accuracies.index(max(accuracies))
    last = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    assert last["epoch"] == 3


def test_checkpoints_hold_plain_values_and_say_what_they_are(run):
    checkpoint = read_checkpoint(run() / "checkpoints" / "best.ckpt")
    assert checkpoint["architecture"] == "cnn"
    assert checkpoint["hyper_parameters"]["widths"] == [16, 32, 64]
    assert CNN(**checkpoint["hyper_parameters"])


def test_a_detector_is_measured_by_its_boxes_too(run):
    run_dir = run("model=faster_rcnn", "trainer.max_epochs=1")
    results = results_of(run_dir)
    assert results["architecture"] == "faster_rcnn"
    assert results["test"]["num_images"] == 200
    boxes = {"mean_iou", "mAP", "mAP@0.5", "sequence_accuracy"}
    assert results["test"].keys() >= {"accuracy", "f1", "missed"} | boxes
    losses = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    (row,) = results["history"]
    assert row["train/loss"] == pytest.approx(sum(row[f"train/{name}"] for name in losses), 1e-5)
    assert load_classifier(run_dir / "checkpoints" / "best.ckpt").architecture == "faster_rcnn"


def test_scenes_are_trained_on_and_tested_digit_by_digit(run):
    sizes = ("data.num_train_scenes=40", "data.num_val_scenes=10", "data.num_test_scenes=12")
    run_dir = run("model=faster_rcnn", "data=mnist_scenes", *sizes, "trainer.max_epochs=1")
    results = results_of(run_dir)
    test = results["test"]
    assert results["calibration"]["after"]["nll"]["value"] > 0
    assert 12 <= test["num_images"] <= 5 * 12
    assert 0 <= test["mAP@0.5"] <= 1
    assert RunDirectory(run_dir).read_attributions() is None
    with np.load(run_dir / "test_predictions.npz") as predictions:
        assert len(predictions["targets"]) == test["num_images"]
        assert (predictions["preds"] == -1).sum() == test["missed"]


def test_a_pretrained_network_is_fine_tuned_and_tested(run, tmp_path):
    original = torchvision.models.alexnet().state_dict()
    torch.save(original, tmp_path / "alexnet.pth")
    weights = f"model.weights={tmp_path}/alexnet.pth"
    head_alone = ("model.num_trainable_blocks=0", "trainer.max_epochs=1", "callbacks=ema")
    run_dir = run("model=alexnet", weights, *head_alone, "trainer.limit_train_batches=4")
    results = results_of(run_dir)
    assert results["weights"] == f"{tmp_path}/alexnet.pth"
    assert results["num_parameters"] - results["num_trainable_parameters"] == 2_469_696
    assert results["test"]["num_images"] == 200
    (tmp_path / "alexnet.pth").unlink()  # a checkpoint is whole without it
    tested = load_classifier(run_dir / "checkpoints" / "best.ckpt")
    assert tested.architecture == "alexnet"
    for name, values in tested.features.state_dict(prefix="features.").items():
        assert torch.equal(values, original[name]), name  # averaging leaves them alone too


@pytest.fixture(scope="module")
def bad_weights(tmp_path_factory):
    """Files that AlexNet cannot start from, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("weights")
    vgg16 = torchvision.models.vgg16(init_weights=False).features.state_dict(prefix="features.")
    torch.save(vgg16, folder / "vgg16.pth")
    (folder / "truncated.pth").write_bytes((folder / "vgg16.pth").read_bytes()[:100_000])
    torch.save({"features.0.weight": print}, folder / "code.pth")
    return folder


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("vgg16.pth", "not weights of this architecture: it lacks features.3.weight"),
        ("truncated.pth", "damaged"),
        ("code.pth", "it holds print, and only tensors and plain values are loaded"),
        ("absent.pth", "neither a file nor one of IMAGENET1K_V1"),
    ],
)
def test_weights_that_cannot_be_used_end_a_run_in_one_line_before_it_asks_for_data(
    run_task, monkeypatch, bad_weights, tmp_path, file, expected
):
    monkeypatch.setattr("mnist_vision.data.datamodule.ensure_mnist", None)
    code, output = run_task("model=alexnet", f"model.weights={bad_weights}/{file}", "trainer=cpu")
    assert code == 1
    (line,) = output.err.splitlines()
    assert line.startswith(f"error: model.weights={bad_weights}/{file}: ")
    assert expected in line
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("has_bf16", [True, False])
def test_bf16_on_a_processor_without_it_is_warned_of(run, monkeypatch, caplog, has_bf16):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bf16})
    run("trainer.precision=bf16-mixed", "trainer.limit_train_batches=1", "trainer.max_epochs=1")
    warned = "trainer.precision=bf16-mixed: very slow on this device" in caplog.text
    assert warned is not has_bf16


@pytest.mark.parametrize(
    ("has_bf16", "precision"), [(True, "bf16-mixed"), (False, "32-true")], ids=str
)
def test_the_precision_is_by_default_the_fastest_of_the_device(
    run, monkeypatch, has_bf16, precision
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_bf16})
    dtypes = []
    forward = CNN.forward

    def spy(self, images):
        logits = forward(self, images)
        dtypes.append(logits.dtype)
        return logits

    monkeypatch.setattr(CNN, "forward", spy)
    run_dir = run("trainer.precision=auto", "trainer.max_epochs=1", "logger=tensorboard")
    results = results_of(run_dir)
    assert results["environment"]["precision"] == precision
    assert results["settings"]["trainer"]["precision"] == "auto"
    assert (torch.bfloat16 in dtypes) is has_bf16
    assert dtypes[-1] == torch.float32  # the test


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_with_a_fused_optimizer(run, monkeypatch, precision, algorithm):
    largest = []
    optimizer_step = CNN.optimizer_step

    def step(self, *args, **kwargs):
        done = optimizer_step(self, *args, **kwargs)
        gradients = [p.grad for p in self.parameters()]
        norm = torch.stack([g.norm() for g in gradients]).norm()
        largest.append(norm if algorithm == "norm" else max(g.abs().max() for g in gradients))
        return done

    monkeypatch.setattr(CNN, "optimizer_step", step)
    run("optimizer=sgd", f"trainer.precision={precision}", "trainer.gradient_clip_val=0.001",
        f"trainer.gradient_clip_algorithm={algorithm}", "trainer.max_epochs=1")  # fmt: skip
    assert max(largest) == pytest.approx(0.001, rel=0.01)


def test_a_profile_is_written_into_the_run_directory(run):
    run_dir = run("trainer.profiler=simple", "trainer.max_epochs=1")
    assert "run_training_epoch" in (run_dir / "fit-profile.txt").read_text()


def test_without_a_profiler_no_profile_is_written(run):
    assert not list(run("trainer.max_epochs=1").glob("*profile*"))


def test_the_summary_of_the_model_is_shown_if_asked_for(run, caplog, capsys):
    run("trainer.enable_model_summary=true", "trainer.max_epochs=1")
    assert "Trainable params" in caplog.text + capsys.readouterr().out


def test_seeds(run, tmp_path):
    histories = []
    for seed in (0, 0, 1):
        histories.append(without_times(results_of(run(f"seed={seed}"))["history"]))
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def test_a_directory_in_use_is_refused_and_nothing_in_it_is_touched(run_task, digits, tmp_path):
    short = ("trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    short += ("trainer.log_every_n_steps=1",)
    run_dir = tmp_path / "run"
    code, output = run_task(*short, "data.val_size=100", "hydra.run.dir=run", "logger=csv")
    assert code == 0, output.err
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    lock = (run_dir / ".lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)  # as another process would
    last = run_dir / "checkpoints" / "last.ckpt"
    for arguments in (
        ("hydra.run.dir=run", "optimizer=sgd"),
        ("hydra.run.dir=run", "overwrite=true"),
        (f"ckpt_path={last}", "trainer.max_epochs=2"),
    ):
        code, output = run_task(*arguments)
        assert code == 1
        (line,) = output.err.splitlines()
        assert line.startswith("error: run: another process is writing to this directory")
    lock.close()
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_a_directory_that_holds_a_run_is_refused_or_replaced_whole(run_task, digits, tmp_path):
    short = ("trainer.accelerator=cpu", "trainer.limit_train_batches=1", "data.val_size=100")
    short += ("hydra.run.dir=run", "logger=csv", "trainer.log_every_n_steps=1")
    assert run_task(*short, "trainer.max_epochs=2")[0] == 0
    run_dir = tmp_path / "run"
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    code, output = run_task(*short, "seed=1")
    assert code == 1
    assert output.err == (
        "error: hydra.run.dir=run: holds a run; choose another with hydra.run.dir=DIR, or replace "
        "it with overwrite=true\n"
    )
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    (run_dir / "results_epoch_1.json").write_text("{}")
    code, output = run_task(*short, "seed=1", "trainer.max_epochs=1", "overwrite=true")
    assert code == 0, output.err
    assert results_of(run_dir)["seed"] == 1
    assert results_of(run_dir)["epochs"] == 1
    assert not (run_dir / "results_epoch_1.json").exists()
    assert "overwrite=true" not in results_of(run_dir)["overrides"]
    assert (run_dir / "train.log").read_text().count("weights, ") == 1


@pytest.mark.parametrize("nothing", ["logger=null", "~logger", "experiment=null", "logger=[]"])
def test_nothing_can_be_chosen_of_a_group(run_task, digits, tmp_path, nothing):
    code, output = run_task(*TINY, "hydra.run.dir=run", nothing)
    assert code == 0, output.err
    assert (tmp_path / "run" / "tensorboard").exists() == nothing.startswith("experiment")
    assert "train/loss" in results_of(tmp_path / "run")["history"][0]


def test_paths_may_be_relative_or_below_home_wherever_a_job_runs(
    run_task, run_here, digits, tmp_path, monkeypatch
):
    """hydra.job.chdir=true has a job run in its own directory."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    torch.save(torchvision.models.alexnet().state_dict(), tmp_path / "alexnet.pth")
    chdir = ("hydra.job.chdir=true", "data.root=data")
    code, output = run_task(
        *TINY, *chdir, "model=alexnet", "model.weights=alexnet.pth", "hydra.run.dir=~/a run",
        "model.num_trainable_blocks=0",
    )  # fmt: skip
    assert code == 0, output.err
    run_dir = tmp_path / "home" / "a run"
    assert results_of(run_dir)["weights"] == str(tmp_path / "alexnet.pth")
    assert "home/a run/results.json" in output.out
    kept = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")["run"]["settings"]
    assert kept["data"]["root"] == str(tmp_path / "data")
    code, output = run_task('ckpt_path="home/a run/checkpoints/last.ckpt"', "trainer.max_epochs=2",
                            "hydra.job.chdir=true")  # fmt: skip
    assert code == 0, output.err
    assert "home/a run/results.json" in output.out
    for path in ("~/a run/checkpoints/last.ckpt", "home/a run/checkpoints/last.ckpt"):
        argument = f"ckpt_path={quoted(path)}" if path.startswith("home") else f"ckpt_path={path}"
        code, output = run_here(
            "evaluate", argument, "hydra.job.chdir=true", "trainer.accelerator=cpu"
        )
        assert code == 0, output.err
        assert "test accuracy" in output.out


# The real thing: real MNIST, real processes, real signals.


def start(tmp_path, *args):
    return subprocess.Popen(
        [sys.executable, "-m", "mnist_vision.train", "debug=smoke", *args],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_train_then_evaluate_on_real_digits(command, mnist_root, tmp_path):
    done = command("train", "debug=smoke")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("cnn: 98,554 weights")
    assert lines[1].startswith("epoch 1/1  train loss ")
    assert any(line.startswith("mistakes ") and line.endswith(" of 10,000") for line in lines)
    (run_dir,) = tmp_path.glob("outputs/cnn/*")
    trained = results_of(run_dir)

    done = command("evaluate", f"ckpt_path={run_dir}/checkpoints/best.ckpt")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"test accuracy      {trained['test']['accuracy']:.4f}" in done.stdout
    (evaluation,) = tmp_path.glob("outputs/evaluate/*")
    again = json.loads((evaluation / "evaluation.json").read_text())
    assert again["test"] == trained["test"]
    assert again["calibration"] == trained["calibration"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, mnist_root, signum):
    with start(tmp_path, "trainer.max_epochs=1000") as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("best.ckpt")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert err == f"error: stopped by {signum.name}\n"
    (last,) = tmp_path.rglob("last.ckpt")
    assert read_checkpoint(last)
    assert "continue with" in out
    assert f"ckpt_path={last.relative_to(tmp_path)}" in out
    assert not list(tmp_path.rglob("results.json"))


def test_a_run_goes_on_without_the_environment_variable_it_was_started_with(
    digits, run_task, tmp_path, monkeypatch
):
    monkeypatch.setenv("WHERE", "cpu")
    settings = ("debug=smoke", "data.val_size=100", "trainer.accelerator='${oc.env:WHERE}'")
    code, output = run_task(*settings)
    assert code == 0, output.err
    monkeypatch.delenv("WHERE")
    (last,) = tmp_path.rglob("last.ckpt")
    code, output = run_task(f"ckpt_path={last}", "trainer.max_epochs=2")
    assert code == 0, output.err
    assert "epoch 2/2" in output.out


def test_a_full_disk_ends_the_run_with_one_line(tmp_path, mnist_root):
    """A limit on the size of files stands for the full disk."""
    script = (
        "import resource, sys\n"
        "from mnist_vision.train import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
        "sys.argv[1:] = ['debug=smoke']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "checkpoints/last.ckpt: File too large; raise the limit on the size of " in done.stderr
    assert "or choose another directory with hydra.run.dir=DIR" in done.stderr


def test_two_processes_train_together_and_one_tests_each_image_once(command, mnist_root, tmp_path):
    done = command(
        "train", "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=1",
        "trainer.limit_train_batches=5", "trainer.log_every_n_steps=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run_dir,) = tmp_path.glob("outputs/cnn/*")
    results = results_of(run_dir)
    assert results["test"]["num_images"] == 10_000
    assert done.stdout.count("test accuracy") == 1
    assert (run_dir / "train_ddp_process_1.log").exists()


def test_several_processes_in_a_sweep_are_refused(command, mnist_root):
    done = command("train", "-m", "trainer=ddp", "trainer.accelerator=cpu", "seed=0")
    assert done.returncode == 1
    assert "trainer.devices=2: several processes in a sweep" in done.stderr
    assert "Traceback" not in done.stderr
