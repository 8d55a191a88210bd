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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_vision.common.errors import Stopped, UserError
from mnist_vision.data.datamodule import MNISTDataModule
from mnist_vision.evaluation.calibration import fit_scaling
from mnist_vision.models.classifier import to_probabilities
from mnist_vision.models.cnn import CNN
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.settings import quoted
from mnist_vision.training.checkpoints import load_classifier, read_checkpoint
from mnist_vision.training.run import run as run_training
from tests.conftest import results_of

TINY = (
    "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
    "trainer.log_every_n_steps=1", "data.val_size=100", "data.batch_size=20",
)  # fmt: skip


def without_times(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


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


def test_a_run_is_calibrated_on_its_validation_images(run):
    run_dir = run()
    path = run_dir / "checkpoints" / "best.ckpt"
    datamodule = MNISTDataModule("", val_size=100, augmentation=None)
    datamodule.setup("fit")
    images, targets = datamodule.prepare_batch(datamodule.val_set.__getitems__(range(100)))
    with torch.no_grad():
        scores = load_classifier(path)(images)
    expected = fit_scaling(to_probabilities(scores.double()), targets)
    stored = read_checkpoint(path)["calibration"]
    assert stored["temperature"] == pytest.approx(expected.temperature, rel=1e-3)
    assert stored["threshold"] == pytest.approx(expected.threshold, rel=1e-3)
    calibration = results_of(run_dir)["calibration"]
    assert stored == {name: calibration[name] for name in ("temperature", "threshold")}
    assert calibration["before"] != calibration["after"]
    assert "calibration" not in read_checkpoint(run_dir / "checkpoints" / "last.ckpt")


def test_the_worst_mistakes_are_explained_and_again_by_evaluate(run, run_here, tmp_path):
    run_dir = run("trainer.max_epochs=1", "model.widths=[4,8]")
    explained = RunDirectory(run_dir).read_attributions()
    tested = RunDirectory(run_dir).read_predictions()
    assert len(explained.indices) == 12
    assert (explained.predictions == tested.preds[explained.indices]).all()
    assert (explained.targets == tested.targets[explained.indices]).all()
    assert (explained.predictions != explained.targets).all()
    arguments = ("ckpt_path=run/checkpoints/best.ckpt", "hydra.run.dir=again")
    code, output = run_here("evaluate", *arguments, "trainer.accelerator=cpu")
    assert (code, output.err) == (0, "")
    again = RunDirectory(tmp_path / "again").read_attributions()
    for name, array in vars(explained).items():
        assert np.array_equal(getattr(again, name), array)


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
    warned = "trainer.precision=bf16-mixed: very slow on this processor" in caplog.text
    assert warned is not has_bf16


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


def test_the_summary_of_the_model_is_shown_if_asked_for(run, caplog, capsys):
    run("trainer.enable_model_summary=true", "trainer.max_epochs=1")
    assert "Trainable params" in caplog.text + capsys.readouterr().out


def test_seeds(run, tmp_path):
    histories = []
    for seed in (0, 0, 1):
        histories.append(without_times(results_of(run(f"seed={seed}"))["history"]))
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


@pytest.mark.parametrize("callbacks", ["default", "ema"])
def test_an_interrupted_and_resumed_run_equals_one_that_was_not(
    digits, run_config, tmp_path, monkeypatch, callbacks
):
    """With shuffling, dropout, augmentation and a schedule; to the bit."""
    settings = ("trainer.max_epochs=3", "data.batch_size=50", f"callbacks={callbacks}")
    config = run_config(*settings)
    run_training(config)
    whole = results_of(tmp_path / "run")
    whole_last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")

    monkeypatch.setattr("mnist_vision.training.run._say_how_to_continue", lambda *args: None)
    config.output_dir = str(tmp_path / "resumed")
    (tmp_path / "resumed").mkdir()
    steps = []

    def stop_in_the_second_epoch(self, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 13:
            raise Stopped(signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    training_step = CNN.training_step
    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop_in_the_second_epoch)
        with pytest.raises(Stopped):
            run_training(config)
    assert not (tmp_path / "resumed" / "results.json").exists()

    config.ckpt_path = str(tmp_path / "resumed" / "checkpoints" / "last.ckpt")
    run_training(config)
    resumed = results_of(tmp_path / "resumed")
    assert without_times(resumed["history"]) == without_times(whole["history"])
    assert resumed["test"] == whole["test"]
    assert resumed["calibration"] == whole["calibration"]
    assert resumed["seconds"]["fit"] >= resumed["history"][1]["seconds"]
    resumed_last = read_checkpoint(config.ckpt_path)
    for name, values in whole_last["state_dict"].items():
        assert torch.equal(values, resumed_last["state_dict"][name]), name


def test_tensorboard_shows_each_step_of_a_resumed_run_once(run, monkeypatch, tmp_path):
    monkeypatch.setattr("mnist_vision.training.run._say_how_to_continue", lambda *args: None)
    training_step = CNN.training_step

    def stop_in_the_second_epoch(self, batch, batch_idx):
        if self.trainer.global_step == 6:
            raise Stopped(signal.SIGTERM)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop_in_the_second_epoch)
        with pytest.raises(Stopped):
            run()
    run(f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    steps = {tag: [each.step for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert steps.pop("epoch")  # Lightning logs it with each metric
    assert steps["train/lr"] == list(range(8))
    assert steps["val/accuracy"] == [3, 7]
    assert steps["test/accuracy"] == [8]
    for tag, logged in steps.items():
        assert len(set(logged)) == len(logged), tag
    assert [each.step for each in events.Images("train/images")] == [0]


def test_a_run_stopped_in_its_first_epoch_can_be_resumed(run, run_config, monkeypatch, tmp_path):
    monkeypatch.setattr("mnist_vision.training.run._say_how_to_continue", lambda *args: None)

    def stop(self, batch, batch_idx):
        raise Stopped(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(CNN, "training_step", stop)
        with pytest.raises(Stopped):
            run()
    run(f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    assert results_of(tmp_path / "run")["epochs"] == 2


@pytest.mark.parametrize("max_epochs", [1, 2])
def test_resuming_a_finished_run_says_so_and_leaves_its_results(run, max_epochs):
    run_dir = run()
    before = (run_dir / "results.json").read_bytes()
    again = f"ckpt_path={run_dir}/checkpoints/last.ckpt"
    expected = rf"already trained for 2 epochs, with trainer\.max_epochs={max_epochs}"
    with pytest.raises(UserError, match=expected):
        run(again, f"trainer.max_epochs={max_epochs}")
    assert (run_dir / "results.json").read_bytes() == before


def test_a_run_that_lacks_only_its_results_gets_them(run):
    run_dir = run()
    before = results_of(run_dir)
    (run_dir / "results.json").unlink()
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt")
    after = results_of(run_dir)
    for key in ("history", "train", "test", "calibration", "epochs"):
        assert after[key] == before[key]


def test_a_finished_run_can_be_trained_on_and_its_results_are_kept(run):
    run_dir = run()
    first = results_of(run_dir)
    run(f"ckpt_path={run_dir}/checkpoints/last.ckpt", "trainer.max_epochs=3")
    assert results_of(run_dir)["history"][:2] == first["history"]
    assert results_of(run_dir)["epochs"] == 3
    assert json.loads((run_dir / "results_epoch_2.json").read_text()) == first


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
