import pickle
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from mnist_vision.common.errors import UserError
from mnist_vision.models.cnn import CNN
from mnist_vision.runs.record import RunSettings
from mnist_vision.training.checkpoints import (
    AtomicCheckpointIO,
    add_settings,
    epochs_done,
    load_classifier,
    read_checkpoint,
    read_resumable,
    stored_settings,
)


@pytest.fixture
def model():
    return CNN(widths=[2, 3], hidden=4)


def save(model, path, **changes):
    checkpoint = {
        "architecture": model.architecture,
        "hyper_parameters": dict(model.hparams),
        "state_dict": model.state_dict(),
        "optimizer_states": [{"state": {}}],
        "callbacks": {"History": {"rows": []}},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": 3}}}},
    }
    AtomicCheckpointIO().save_checkpoint(checkpoint | changes, path)
    return path


@pytest.fixture
def path(model, tmp_path):
    return save(model, tmp_path / "some.ckpt")


def test_a_network_comes_back_as_it_was(model, path):
    again = load_classifier(path)
    assert not again.training
    assert again.hparams == model.hparams
    for name, values in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], values)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"ckpt_path=.*none\.ckpt: no such file"):
        read_checkpoint(tmp_path / "none.ckpt")


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file_is_refused(path, share):
    contents = path.read_bytes()
    path.write_bytes(contents[: int(len(contents) * share)])
    with pytest.raises(UserError, match="corrupt, or not a checkpoint of this program"):
        read_checkpoint(path)


def test_one_flipped_bit_in_the_weights_is_found(path):
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    contents = bytearray(path.read_bytes())
    contents[largest.header_offset + 200] ^= 16
    path.write_bytes(contents)
    with pytest.raises(UserError, match="corrupt, or not"):
        read_checkpoint(path)


def test_other_files_are_refused(model, tmp_path):
    text, bare, foreign = (tmp_path / name for name in ("text", "bare", "foreign"))
    text.write_text("not a checkpoint")
    torch.save(model.state_dict(), bare)
    torch.save({"state_dict": {}, "hyper_parameters": {}}, foreign)
    for other in (text, bare, foreign, tmp_path):
        with pytest.raises(UserError, match=r"not a checkpoint of this program|no such file"):
            read_checkpoint(other)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for name, protocol in (("zip", None), ("legacy", False)):
        path = tmp_path / name
        content = {"architecture": Payload(), "hyper_parameters": {}, "state_dict": {}}
        torch.save(content, path, _use_new_zipfile_serialization=protocol is None)
        with pytest.raises(UserError, match="not a checkpoint of this program"):
            load_classifier(path)
    (tmp_path / "plain").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError, match="not a checkpoint of this program"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "plain", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_an_unknown_architecture_and_weights_that_do_not_fit_are_named(model, tmp_path):
    with pytest.raises(UserError, match="unknown architecture 'resnet'"):
        load_classifier(save(model, tmp_path / "a.ckpt", architecture="resnet"))
    with pytest.raises(UserError, match="does not fit cnn"):
        load_classifier(save(model, tmp_path / "b.ckpt", hyper_parameters={"widths": [9]}))
    with pytest.raises(UserError, match="does not fit cnn"):
        load_classifier(save(model, tmp_path / "c.ckpt", hyper_parameters={"depth": 9}))
    with pytest.raises(UserError, match="does not fit cnn"):
        load_classifier(save(model, tmp_path / "e.ckpt", hyper_parameters=None))
    with pytest.raises(UserError, match="does not fit cnn"):
        load_classifier(save(model, tmp_path / "d.ckpt", state_dict={1: torch.zeros(1)}))


def test_the_settings_of_a_run_come_back(model, tmp_path):
    groups = ("data", "model", "optimizer", "scheduler", "trainer", "callbacks")
    plain = {"seed": 3} | {group: {"widths": [2, 3]} for group in groups}
    settings = RunSettings(settings=plain, overrides=["seed=3"])
    checkpoint = read_checkpoint(save(model, tmp_path / "plain.ckpt"))
    add_settings(checkpoint, settings)
    path = save(model, tmp_path / "a.ckpt", **checkpoint)
    assert stored_settings(read_checkpoint(path), path) == settings


@pytest.mark.parametrize("run", [3, {"settings": 3}, {"version": 9, "settings": {}}])
def test_damaged_settings_are_refused(model, tmp_path, run):
    path = save(model, tmp_path / "a.ckpt", run=run)
    with pytest.raises(UserError, match=r"ckpt_path=.*a\.ckpt: .*must be"):
        stored_settings(read_checkpoint(path), path)


def test_a_checkpoint_without_settings_says_what_is_lost_and_how_to_test_it(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with pytest.raises(
        UserError, match="data, optimizer, scheduler, trainer and callbacks"
    ) as info:
        stored_settings(read_checkpoint(path), path)
    assert "python -m mnist_vision.evaluate ckpt_path=some.ckpt data=NAME" in str(info.value)


@pytest.mark.parametrize("part", ["loops", "optimizer_states", "callbacks"])
@pytest.mark.parametrize("damaged", [[], {}, 3, None, [3], {"x": 1}])
def test_training_goes_on_from_a_whole_state_alone(model, path, tmp_path, part, damaged):
    assert epochs_done(read_resumable(path)) == 3
    other = save(model, tmp_path / "other.ckpt", **{part: damaged})
    if (part, damaged) == ("callbacks", {"x": 1}):
        assert read_resumable(other)  # any callback may have a state
        return
    with pytest.raises(UserError, match="holds weights without the state of training"):
        read_resumable(other)


def test_a_kill_at_any_moment_of_saving_leaves_a_good_checkpoint(path):
    script = (
        "import sys, torch\n"
        "from mnist_vision.training.checkpoints import AtomicCheckpointIO, read_checkpoint\n"
        "content = read_checkpoint(sys.argv[1]) | {'ballast': torch.rand(10**6)}\n"
        "print('saving', flush=True)\n"
        "while True:\n"
        "    AtomicCheckpointIO().save_checkpoint(content, sys.argv[1])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"saving\n"
        for _ in range(20):
            time.sleep(random.uniform(0, 0.05))
            process.send_signal(signal.SIGSTOP)
            # Stopped half-way is what a kill leaves, seen twenty times for the price of once.
            assert read_checkpoint(path)
            process.send_signal(signal.SIGCONT)
        process.kill()
    assert load_classifier(path)


def test_a_full_disk_leaves_the_old_checkpoint(path):
    """A limit on the size of files stands for the full disk: writing fails half-way."""
    before = path.read_bytes()
    script = (
        "import resource, sys, torch\n"
        "from mnist_vision.training.checkpoints import AtomicCheckpointIO\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))\n"
        "try:\n"
        "    AtomicCheckpointIO().save_checkpoint({'x': torch.zeros(10**6)}, sys.argv[1])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"UserError {path}: cannot write the checkpoint (File too large)")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
