"""Checkpoints that cannot be used, through the commands that take one."""

import os
import shutil

import pytest
import torch

from mnist_vision.training.checkpoints import read_checkpoint
from tests.training.conftest import MISSING, changed

# What torch or Python say, and nobody understands.
JARGON = ("weights_only", "Traceback", "Error", "pickle", "Errno")


@pytest.fixture
def checkpoint(trained):
    return read_checkpoint(trained()[1])


@pytest.fixture
def refusal(run_here, tmp_path):
    """Runs a command on a checkpoint; gives the line in which it is refused."""

    def run(command, path="some.ckpt"):
        code, output = run_here(command, f"ckpt_path={path}")
        assert code == 1
        (line,) = output.err.splitlines()
        assert line.startswith("error: ckpt_path=")
        assert not any(word in line for word in JARGON)
        assert not list(tmp_path.rglob("evaluation.json"))
        return line

    return run


def pickled_call():
    class Call:
        def __reduce__(self):
            return os.system, ("touch ran",)

    return Call()


NOT_OURS = "corrupt, or not a checkpoint of this program: "
CONTENTS = {
    "empty": (b"", f"{NOT_OURS}it is empty"),
    "text": (b"some text\n" * 9, f"{NOT_OURS}it is not a file of torch.save"),
    "truncated": (None, f"{NOT_OURS}it is damaged or ends too early"),
    "a call": (
        pickled_call(),
        f"{NOT_OURS}it holds posix.system, and only tensors and plain values are loaded",
    ),
    "weights alone": ({"head.5.bias": torch.ones(10)}, f"{NOT_OURS}architecture is missing"),
}


@pytest.mark.parametrize("command", ["evaluate", "train"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_foreign_or_damaged_file_is_refused(refusal, trained, tmp_path, command, kind):
    content, reason = CONTENTS[kind]
    path = tmp_path / "some.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        shutil.copy(trained()[1], path)
        os.truncate(path, path.stat().st_size // 2)
    else:
        torch.save(content, path)
    assert refusal(command).endswith(reason)
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_a_path_that_leads_to_no_file_is_refused(refusal, tmp_path, command):
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert "Too many levels of symbolic links" in refusal(command, "loop")
    assert "Not a regular file" in refusal(command, "pipe")
    of_folder = "Is a directory" if command == "train" else "no completed run in it"
    assert of_folder in refusal(command, "folder")
    assert "File name too long" in refusal(command, "x" * 5000)


SPOILT = [
    (("state_dict", "head.5.bias"), torch.ones(9), "it is for 9 classes, MNIST has 10"),
    (("state_dict", "head.5.bias"), torch.full((10,), torch.nan), "10 of 10 values of head.5.bias"),
    (("hyper_parameters", "depth"), 3, "depth is none of its arguments"),
    (("run",), 3, "its settings must be a dictionary"),
    (("calibration",), 2.0, "calibration=2.0: must be a valid dictionary"),
    (("calibration", "temperature"), float("nan"), "temperature=nan: must be a finite number"),
    (("calibration", "temperature"), 0.0, "temperature=0.0: must be greater than or equal to 0.05"),
    (("calibration", "temperature"), 1e30, "temperature=1e+30: must be less than or equal to 20"),
    (("calibration", "temperature"), "2", "temperature='2': must be a valid number"),
    (("calibration", "temperature"), MISSING, "calibration.temperature is missing"),
    (("calibration", "threshold"), 1.5, "threshold=1.5: must be less than or equal to 1"),
    (("run", "settings", "data"), {}, "its settings name no data; add data=NAME"),
    (
        ("run", "settings", "data", "_target_"),
        "os.system",
        "data._target_=os.system is neither a part of this program",
    ),
]


@pytest.mark.parametrize(("path", "value", "reason"), SPOILT)
def test_a_network_that_cannot_be_tested_is_refused(
    refusal, digits, checkpoint, tmp_path, path, value, reason
):
    checkpoint = checkpoint | {"calibration": {"temperature": 1.5, "threshold": 0.9}}
    torch.save(changed(checkpoint, path, value), tmp_path / "some.ckpt")
    assert reason in refusal("evaluate")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("optimizer_states",), []),
        (("lr_schedulers",), []),
        (("loops", "fit_loop"), MISSING),
        (("callbacks", "LastCheckpoint", "generators"), MISSING),
        (("callbacks", "History", "rows"), []),
    ],
)
def test_training_does_not_go_on_from_half_a_state(refusal, checkpoint, tmp_path, path, value):
    torch.save(changed(checkpoint, path, value), tmp_path / "some.ckpt")
    assert "holds weights without the whole state of training" in refusal("train")
    assert [each.name for each in tmp_path.iterdir()] == ["some.ckpt"]
