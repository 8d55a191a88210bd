"""`attributions.npz` is checked when it is read."""

from dataclasses import replace

import numpy as np
import pytest

from mnist_vision.common.errors import UserError
from mnist_vision.runs.directory import RunDirectory
from mnist_vision.runs.mistake_attributions import MistakeAttributions


def make(num=3):
    rng = np.random.default_rng(0)
    maps = rng.random((num, 28, 28)).astype(np.float32)
    return MistakeAttributions(
        indices=np.arange(num) * 7,
        predictions=np.arange(num) % 10,
        targets=(np.arange(num) + 1) % 10,
        pictures=rng.integers(0, 256, (num, 28, 28)).astype(np.uint8),
        grad_cam=maps,
        integrated_gradients=2 * maps - 1,
    )


def test_what_was_written_is_read(tmp_path):
    directory, written = RunDirectory(tmp_path), make()
    directory.write_attributions(written)
    read = directory.read_attributions()
    for name, array in vars(written).items():
        assert np.array_equal(getattr(read, name), array)
    directory.write_attributions(None)
    assert directory.read_attributions() is None
    assert not list(tmp_path.iterdir())


def test_a_new_run_deletes_the_file(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.write_attributions(make())
    directory.clear()
    assert not list(tmp_path.iterdir())


WRONG = {
    "shape": ({"indices": np.zeros((3, 1), np.int64)}, r"indices is int64 of shape \[3, 1\]"),
    "length": ({"pictures": np.zeros((2, 28, 28), np.uint8)}, r"pictures is .* \[2, 28, 28\]"),
    "type": ({"grad_cam": np.zeros((3, 28, 28))}, "grad_cam is float64"),
    "digit": ({"predictions": np.full(3, 10)}, "predictions holds values outside 0 to 9"),
    "range": (
        {"grad_cam": np.full((3, 28, 28), 1.5, np.float32)},
        "grad_cam holds values outside 0 to 1",
    ),
    "no number": (
        {"integrated_gradients": np.full((3, 28, 28), np.nan, np.float32)},
        "integrated_gradients holds values",
    ),
    "objects": ({"targets": np.array([None] * 3)}, r"is damaged \(ValueError\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_contents_are_refused(tmp_path, kind):
    changes, reason = WRONG[kind]
    directory = RunDirectory(tmp_path)
    directory.write_attributions(replace(make(), **changes))
    with pytest.raises(UserError, match=f"^attributions.npz: .*{reason}"):
        directory.read_attributions()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 no archive"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "attributions.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"^attributions.npz: is damaged"):
        RunDirectory(tmp_path).read_attributions()
