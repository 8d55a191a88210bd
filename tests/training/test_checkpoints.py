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
from mnist_vision.runs.calibration_record import TemperatureScaling
from mnist_vision.runs.record import RunSettings
from mnist_vision.training.checkpoints import (
    AtomicCheckpointIO,
    add_calibration,
    add_settings,
    epochs_done,
    load_classifier,
    read_checkpoint,
    read_resumable,
    stored_settings,
)
from tests.conftest import limited_file_size


@pytest.fixture
def model():
    return CNN(widths=[2, 3], hidden=4)


def save(model, path, **changes):
    checkpoint = {
        "architecture": model.architecture,
        "hyper_parameters": dict(model.hparams),
        "state_dict": model.state_dict(),
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


def test_a_network_is_calibrated_from_then_on(model, path):
    assert (load_classifier(path).temperature, load_classifier(path).threshold) == (1, None)
    scaling = TemperatureScaling(temperature=1.5, threshold=0.9)
    add_calibration(read_checkpoint(path), path, scaling)
    again = load_classifier(path)
    assert (again.temperature, again.threshold) == (1.5, 0.9)
    scores = torch.randn(5, 10)
    torch.testing.assert_close(again.probabilities(scores), model.probabilities(scores / 1.5))
    for name, values in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], values)


def test_a_full_disk_leaves_the_checkpoint_without_calibration(path):
    before = path.read_bytes()
    checkpoint = read_checkpoint(path)
    with limited_file_size(len(before) // 2), pytest.raises(OSError, match="File too large"):
        add_calibration(checkpoint, path, TemperatureScaling(temperature=1.5))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"ckpt_path=.*none\.ckpt: no such file"):
        read_checkpoint(tmp_path / "none.ckpt")


@pytest.mark.parametrize(
    ("share", "reason"),
    [(0, "it is empty"), (0.3, "it is damaged or ends too early")],
)
def test_a_truncated_file_is_refused(path, share, reason):
    contents = path.read_bytes()
    path.write_bytes(contents[: int(len(contents) * share)])
    with pytest.raises(UserError) as refused:
        read_checkpoint(path)
    not_ours = "corrupt, or not a checkpoint of this program"
    assert str(refused.value) == f"ckpt_path={path}: {not_ours}: {reason}"


def test_one_flipped_bit_in_the_weights_is_found(path):
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    contents = bytearray(path.read_bytes())
    contents[largest.header_offset + 200] ^= 16
    path.write_bytes(contents)
    with pytest.raises(UserError, match=r"corrupt, or not .*: the checksum of .* does not match"):
        read_checkpoint(path)


def test_other_files_are_refused(model, tmp_path):
    path = tmp_path / "other"
    network = {"architecture": "cnn", "hyper_parameters": {}, "state_dict": {}}
    for content, reason in (
        ([1, 2], "it is not a dictionary"),
        (model.state_dict(), "architecture is missing"),
        (network | {"architecture": 3}, "architecture=3: must be a valid string"),
        (network | {"hyper_parameters": None}, "hyper_parameters=None: must be a valid dictionary"),
        (network | {"state_dict": [1]}, "state_dict=[1]: must be a valid dictionary"),
        (network | {"state_dict": {1: torch.ones(1)}}, "must be a valid string"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match="corrupt, or not a checkpoint of this") as refused:
            read_checkpoint(path)
        assert str(refused.value).endswith(reason)
    path.write_text("not a checkpoint")
    with pytest.raises(UserError, match="it is not a file of"):
        read_checkpoint(path)
    with pytest.raises(UserError, match="Is a directory"):
        read_checkpoint(tmp_path)


def test_a_file_that_may_not_be_read_has_the_reason_of_the_operating_system(path, monkeypatch):
    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mnist_vision.training.checkpoints.load_tensors", fail)
    with pytest.raises(UserError, match=r"some\.ckpt: cannot be read \(Permission denied\)"):
        read_checkpoint(path)


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


def refusal(path):
    with pytest.raises(UserError) as refused:
        load_classifier(path)
    return str(refused.value)


def test_an_unknown_architecture_is_named(model, tmp_path):
    path = save(model, tmp_path / "a.ckpt", architecture="resnet")
    assert "unknown architecture 'resnet'" in refusal(path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"depth": 9}, "depth is none of its arguments"),
        ({"widths": [0]}, "widths=[0]: must be a list of 1 to 4 whole numbers of at least 1"),
        ({"widths": [10**9, 10**9]}, "they give no network that fits into memory"),
    ],
)
def test_arguments_that_make_no_network_are_refused(model, tmp_path, arguments, reason):
    path = save(model, tmp_path / "a.ckpt", hyper_parameters=arguments)
    assert refusal(path) == f"ckpt_path={path}: cannot make cnn from its hyper_parameters: {reason}"


def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


WEIGHTS = {
    "other classes": (
        lambda held: {"head.5.weight": torch.ones(9, 4), "head.5.bias": torch.ones(9)},
        "does not fit cnn: head.5.weight has shape [9, 4], must have [10, 4]; it is for 9 classes, "
        "MNIST has 10",
    ),
    "another shape": (
        lambda held: {"stages.0.0.weight": torch.ones(2, 3, 3, 3)},
        "does not fit cnn: stages.0.0.weight has shape [2, 3, 3, 3], must have [2, 1, 3, 3]",
    ),
    "a foreign tensor": (
        lambda held: {"a": torch.ones(1), "b": torch.ones(1)},
        "does not fit cnn: it holds a and 1 more, which the network does not have",
    ),
    "no tensor": (
        lambda held: {"head.5.bias": [1]},
        "is not a dictionary of plain tensors by name",
    ),
    "NaN": (
        lambda held: {"head.5.bias": torch.tensor([torch.nan, torch.inf] + [0.0] * 8)},
        "2 of 10 values of head.5.bias are NaN or infinite; give the checkpoint of another epoch",
    ),
    "an infinite average": (
        lambda held: {"stages.0.2.running_var": torch.tensor([1.0, torch.inf])},
        "1 of 2 values of stages.0.2.running_var are NaN or infinite; give the checkpoint of "
        "another epoch",
    ),
}


@pytest.mark.parametrize("how", WEIGHTS)
def test_weights_that_cannot_be_used_are_named(model, tmp_path, how):
    change, reason = WEIGHTS[how]
    held = model.state_dict()
    path = save(model, tmp_path / "a.ckpt", state_dict=dict(held) | change(held))
    assert refusal(path) == f"ckpt_path={path}: state_dict: {reason}"


def test_the_first_missing_weight_is_named(model, tmp_path):
    held = without(model.state_dict(), "stages.0.0.weight", "head.5.bias")
    path = save(model, tmp_path / "a.ckpt", state_dict=held)
    assert refusal(path).endswith("does not fit cnn: it lacks stages.0.0.weight and 1 more")
    path = save(model, tmp_path / "b.ckpt", state_dict={})
    assert refusal(path).endswith("state_dict: is not a dictionary of plain tensors by name")


def test_weights_of_other_precision_are_taken(model, tmp_path):
    half = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    loaded = load_classifier(save(model, tmp_path / "a.ckpt", state_dict=half))
    assert loaded.head[-1].bias.dtype == torch.float32


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


def test_settings_that_hold_themselves_are_refused(model, tmp_path):
    groups = ("data", "model", "optimizer", "scheduler", "trainer", "callbacks")
    endless = [1]
    endless.append(endless)
    settings = {group: {"x": endless} for group in groups}
    path = save(model, tmp_path / "a.ckpt", run={"settings": settings})
    with pytest.raises(UserError, match="its settings are nested too deeply"):
        stored_settings(read_checkpoint(path), path)


def test_a_checkpoint_without_settings_says_what_is_lost_and_how_to_test_it(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with pytest.raises(
        UserError, match="data, optimizer, scheduler, trainer and callbacks"
    ) as info:
        stored_settings(read_checkpoint(path), path)
    assert "python -m mnist_vision.evaluate ckpt_path=some.ckpt data=NAME" in str(info.value)


def test_weights_alone_cannot_be_trained_on(path):
    assert epochs_done(read_checkpoint(path)) == 3
    with pytest.raises(UserError) as refused:
        read_resumable(path)
    assert str(refused.value) == (
        f"ckpt_path={path}: holds weights without the whole state of training, which an intact "
        "last.ckpt of a run has: epoch is missing"
    )


def test_training_goes_on_from_whole_epochs_alone(trained):
    _, last = trained()
    assert read_resumable(last)["global_step"] == 2
    with pytest.raises(UserError, match=r"was written within epoch 1, .*; give the last\.ckpt"):
        read_resumable(last.with_name("best.ckpt"))


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
    assert done.stdout == f"OSError [Errno 27] File too large: '{path}'\n"
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
