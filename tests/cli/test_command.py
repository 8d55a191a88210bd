"""Commands: what a user sees after a mistake or a signal."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_vision.training.checkpoints import read_checkpoint
from tests.conftest import results_of

# Arguments, and text that the one error line must contain.
MISTAKES = {
    "optimzer.lr=1": "unknown key optimzer.lr; did you mean optimizer.lr?",
    "lr=3": "unknown key lr; did you mean optimizer.lr?",
    "modle=cnn": "unknown key modle; did you mean model?",
    "model=cnm": "model=cnm: unknown; did you mean cnn? Known: ",
    "--mutlirun": "unknown option --mutlirun; did you mean --multirun?",
    "optimizer.lr=abc": "optimizer.lr=abc: must be a number above 0",
    "optimizer.lr=": "optimizer.lr=: must be a number above 0",
    "optimizer.lr=-1": "optimizer.lr=-1: must be a number above 0",
    "trainer.max_epochs=-3": "trainer.max_epochs=-3: must be a whole number of at least 1",
    "trainer.precision=bf16-true": "trainer.precision=bf16-true: must be one of auto, 32-true",
    "seed=-1": "seed=-1: must be a whole number from 0 to 4294967295",
    "trainer.limit_val_batches=0": "trainer.limit_val_batches=0: must be a number above 0",
    "ckpt_path=none.ckpt": "ckpt_path=none.ckpt: no such file",
    "overwrite=no": "overwrite=no: must be true or false",
    "output_dir=x": "output_dir: cannot be set; set hydra.run.dir=DIR, or hydra.sweep.dir=DIR",
    "=5": "'=5': must be GROUP=CHOICE or KEY=VALUE",
    "model=5": "model=5: unknown. Known: ",
    "sweep=lab": "sweep=lab: is not a group; set sweep.resume=true to resume, or search=NAME",
    "~seed": "seed is required; give it as seed=VALUE",
    "~optimizer": "optimizer is required; give it as optimizer=VALUE",
    "optimizer=null": "optimizer is required; give it as optimizer=VALUE",
    "optimizer=[adam,sgd]": "optimizer=[adam,sgd]: only one can be chosen; to run each, add",
    "data/augmentation=[light,strong]": "only one can be chosen; to run each, add --multirun and",
    "~optimizer._target_": "has no _target_; choose optimizer=NAME",
    "callbacks.pictures=1": "callbacks.pictures=1: has no _target_; remove it with ~callbacks.pic",
    "logger.tensorboard=null": "logger.tensorboard=None: has no _target_; remove it with ~logger.",
    "+lr=0.5": "unknown key lr; --cfg job lists all",
    "+foo=1": "unknown key foo",
    "++optimzer.lr=1": "unknown key optimzer.lr; did you mean optimizer?",
    "+sweep.resme=true": "unknown key sweep.resme; sweep has resume",
    "+trainer.foo=1": "unknown key trainer.foo",
    "+trainer.max_step=5": "unknown key trainer.max_step; did you mean trainer.max_steps?",
    "+trainer.limit_test_batches=1": "trainer.limit_test_batches: cannot be set: the test uses all",
    "+trainer.fast_dev_run=true": "trainer.fast_dev_run: cannot be set: it would skip checkpoints",
    "+trainer.logger=false": "trainer.logger: cannot be set: choose loggers with logger=NAME",
    "data.batch_size=0": "data.batch_size=0: must be a whole number of at least 1",
    "trainer.max_steps=0": "trainer.max_steps=0: must be -1 or a whole number of at least 1",
    "trainer.check_val_every_n_epoch=0": "trainer.check_val_every_n_epoch=0: must be a whole",
    "trainer.strategy=ddp_spawn": "trainer.strategy=ddp_spawn: must be one of auto, ddp, ddp_find",
    "trainer.strategy=abacus": "trainer.strategy=abacus: must be one of auto, ddp, ddp_find_unused",
    "trainer.strategy=fsdp": "trainer.strategy=fsdp: must be one of auto, ddp, ddp_find_unused_p",
    "trainer.num_nodes=2": "trainer.num_nodes=2: must be 1",
    "trainer.num_sanity_val_steps=2": "trainer.num_sanity_val_steps=2: must be 0",
    "seed=1,2": "to run each of several values, add --multirun",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_directory(command, tmp_path, argument):
    done = command("train", argument)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert MISTAKES[argument] in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_required_setting_is_named(command, tmp_path):
    done = command("evaluate")
    assert done.returncode == 1
    assert done.stderr == "error: ckpt_path is required; give it as ckpt_path=VALUE\n"
    assert list(tmp_path.iterdir()) == []


def test_help_and_configuration_are_shown(command, tmp_path):
    done = command("train", "--help")
    assert done.returncode == 0
    assert "optimizer: adam, adamw, sgd" in done.stdout
    done = command("train", "--cfg", "job", "optimizer=sgd")
    assert done.returncode == 0
    assert "torch.optim.SGD" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_plus_adds_a_key_or_replaces_it(command):
    done = command("train", "+trainer.max_steps=5", "+optimizer.eps=1e-6", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "max_steps: 5" in done.stdout
    assert "eps: 1.0e-06" in done.stdout


# Mistakes that are found when the parts are made.
PART_MISTAKES = {
    "data.val_size=60000": "data.val_size=60000: must be a whole number from 10 to 59990",
    "data.augmentation.digits.affine.degrees=900": "digits.affine.degrees=900: must be a number",
    "data.augmentation.digits.affine=3": "data.augmentation.digits.affine=3: must be a step with",
    "model.widths=[]": "model.widths=[]: must be a list of 1 to 4 whole numbers",
    "+model.depth=3": "unknown key model.depth; mnist_vision.models.cnn.CNN takes widths, conv",
    "+data.augmentation.digits.affine.angle=3": "unknown key data.augmentation.digits.affine.angle",
    "++optimizer.bar=1": "unknown key optimizer.bar; torch.optim.Adam takes params, lr, betas, eps",
    "+optimizer.weigt_decay=0.1": "optimizer.weigt_decay; did you mean weight_decay?",
    "+scheduler.final_lr=0": "unknown key scheduler.final_lr; did you mean final?",
    "+callbacks.finite_loss.every=5": "unknown key callbacks.finite_loss.every; ",
    "scheduler.warmup=2": "scheduler.warmup=2: must be a number",
    "+optimizer.betas=3": "error: optimizer: ",
    "trainer.max_time=soon": "trainer.max_time=soon: must be text such as 00:01:30:00 or null",
    "trainer.max_time=5": "trainer.max_time=5: must be text such as 00:01:30:00 or null",
    "trainer.deterministic=foo": "trainer.deterministic=foo: must be true or false or warn or null",
    "trainer.benchmark=foo": "trainer.benchmark=foo: must be true or false or null",
    "trainer.devices=[0]": "trainer.devices=[0]: must be from 1 to ",
    "trainer.gradient_clip_algorithm=norm": "is for trainer.gradient_clip_val, which is not set",
    "trainer.accelerator=abacus": "trainer.accelerator=abacus: must be one that torch can use here",
    "trainer.devices=1000": "trainer.devices=1000: must be from 1 to ",
    "trainer.devices=-1": "trainer.devices=-1: must be from 1 to ",
    "trainer.precision=16-mixed": "trainer.precision=16-mixed: needs a GPU; use bf16-mixed or 32-t",
    "trainer.sync_batchnorm=true": "trainer.sync_batchnorm=true: works on GPUs only; leave it out",
    "~callbacks.best_checkpoint": "callbacks.best_checkpoint is missing: it keeps the network",
    "~data.batch_size": "data.batch_size is required",
    "~trainer.max_epochs": "trainer.max_epochs is required",
}


MODEL_MISTAKES = {
    "model=vgg16 model.image_size=31": "model.image_size=31: must be a whole number of at least 32",
    "model=alexnet model.image_size=62": "model.image_size=62: must be a whole number of at least",
    "model=vgg16 model.weights=IMAGENET": "model.weights=IMAGENET: neither a file nor one of "
    "IMAGENET1K_V1, IMAGENET1K_FEATURES",
    "model=vgg16 model.num_trainable_blocks=-1": "model.num_trainable_blocks=-1: must be a whole",
    "model=vgg16 model.num_trainable_blocks=6": "model.num_trainable_blocks=6: must be a whole",
    "suite=corruptions test=false": "suite=corruptions: needs test=true; leave one of them out",
    "trainer.overfit_batches=2 trainer.limit_val_batches=1": "trainer.limit_val_batches=1: is not "
    "used with trainer.overfit_batches=2; leave one of them out",
    "model=cnn data=mnist_scenes": "data=mnist_scenes: shows several digits an image, and cnn",
}


@pytest.mark.parametrize("arguments", MODEL_MISTAKES)
def test_a_mistake_about_a_model_is_one_line_before_data_is_read(run_task, arguments):
    code, output = run_task("data.root=/dev/null", *arguments.split())
    assert code == 1
    assert output.err.startswith(f"error: {MODEL_MISTAKES[arguments]}")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("argument", PART_MISTAKES)
def test_a_mistake_in_a_part_is_one_line_and_leaves_no_directory(run_task, tmp_path, argument):
    code, output = run_task("trainer.accelerator=cpu", argument)
    assert code == 1
    assert output.err.startswith("error: ")
    assert PART_MISTAKES[argument] in output.err
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.out + output.err
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_run_is_one_line_and_its_traceback_is_logged(run_task, tmp_path):
    code, output = run_task("data.root=/dev/null")
    assert code == 1
    assert output.err.startswith("error: /dev/null/MNIST/raw: Not a directory; move the file away")
    assert output.err.count("\n") == 1
    (log,) = tmp_path.glob("outputs/cnn/*/train.log")
    assert "Traceback (most recent call last)" in log.read_text()
    assert not list(tmp_path.rglob("*.ckpt"))


def test_gpu_without_a_gpu_is_refused(run_task, monkeypatch):
    for accelerator in ("CUDAAccelerator", "MPSAccelerator"):
        monkeypatch.setattr(
            f"mnist_vision.common.accelerators.{accelerator}.is_available", lambda: False
        )
    code, output = run_task("trainer.accelerator=gpu")
    assert code == 1
    expected = "trainer.accelerator=gpu: must be one that torch can use here: auto, cpu"
    assert output.err == f"error: {expected}\n"


def test_an_output_directory_that_cannot_be_made_is_named(run_task, tmp_path):
    (tmp_path / "outputs").touch()
    code, output = run_task("debug=smoke")
    assert code == 1
    assert output.err.startswith("error: ")
    assert "outputs" in output.err
    assert "Not a directory" in output.err or "File exists" in output.err


def test_an_unexpected_error_names_the_file_with_its_traceback(run_task, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("mnist_vision.training.run._log_settings", fail)
    code, output = run_task()
    assert code == 1
    assert output.err.startswith("error: ZeroDivisionError: of all things (traceback in ")
    log = Path(output.err.split("traceback in ")[1].rstrip(")\n"))
    assert "ZeroDivisionError: of all things" in log.read_text()


def test_a_second_signal_does_not_interrupt_the_cleanup(tmp_path):
    script = (
        "import os, signal, time\n"
        "from mnist_vision.cli.command import run_command\n"
        "def task(config):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('tidied up')\n"
        "run_command(task, 'train')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stdout == "tidied up\n"
    assert done.stderr == "error: stopped by SIGINT\n"


def test_an_error_caused_by_a_signal_is_reported_as_the_signal(tmp_path):
    script = (
        "import os, signal, torch\n"
        "from mnist_vision.training.checkpoints import AtomicCheckpointIO\n"
        "from mnist_vision.cli.command import run_command\n"
        "class Interrupted(dict):\n"
        "    def __reduce__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        return dict, ()\n"
        "class Untidy:\n"
        "    def __init__(self, *args): pass\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *args): raise RuntimeError('unexpected pos 64 vs 0')\n"
        "torch.serialization._open_zipfile_writer = Untidy\n"
        "def task(config):\n"
        "    AtomicCheckpointIO().save_checkpoint({'weights': Interrupted()}, 'last.ckpt')\n"
        "run_command(task, 'train')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr == "error: stopped by SIGINT\n"
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize(("signum", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_training_ends_the_process_with_its_code(tmp_path, signum, exit_code):
    script = (
        "import os, sys\n"
        "from mnist_vision.cli.command import run_command\n"
        f"run_command(lambda config: os.kill(os.getpid(), {int(signum)}), 'train')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code
    assert done.stderr == f"error: stopped by {signum.name}\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_works_without_standard_streams(tmp_path, mnist_root, closed):
    """Nothing that a library prints may end up in a file."""
    settings = "debug=smoke model.widths=[4] model.hidden=8 trainer.accelerator=cpu"
    program = f"exec {sys.executable} -m mnist_vision.train {settings} hydra.run.dir=run {closed}"
    done = subprocess.run(["sh", "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
    assert results_of(tmp_path / "run")["epochs"] == 1
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert "epoch 1/1" in (tmp_path / "run" / "train.log").read_text()
