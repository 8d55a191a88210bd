import collections
import gzip
import io
import os
import pickle
import random
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch

from mnist_vision.common.tensor_files import (
    find_misfit,
    find_not_finite,
    is_state_dict,
    load_tensors,
)

CONTENT = {"a": torch.arange(600.0).view(30, 20), "b": [1, "s", (2.0, None)]}


class Call:
    """A pickle of it calls a function when it is loaded."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def saved(content, **kwargs):
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


def zipped(compression=zipfile.ZIP_STORED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name.replace('_', '.')}", content)
    return file.getvalue()


def archived(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def jit_program():
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return file.getvalue()


def truncated(content, share):
    return content[: int(len(content) * share)]


OLD = {"_use_new_zipfile_serialization": False}
FOREIGN = "it is not a file of torch.save"
DAMAGED = "it is damaged or ends too early"
REFUSED = "it holds {}, and only tensors and plain values are loaded"

FILES = {
    "empty": (b"", "it is empty"),
    "one byte": (b"x", FOREIGN),
    "text": (b"not a checkpoint\n" * 20, FOREIGN),
    "JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)), FOREIGN),
    "numpy": (archived(lambda file: np.save(file, np.zeros(3))), FOREIGN),
    "gzip": (gzip.compress(saved(CONTENT)), FOREIGN),
    "tar": (tar(), FOREIGN),
    "pickle": (pickle.dumps({"a": 1}, protocol=2), FOREIGN),
    "new pickle": (pickle.dumps(Call(os.mkdir, "ran")), FOREIGN),
    "zip": (zipped(notes_txt=b"x"), "it is a zip archive, but not one of torch.save"),
    "numpy zip": (
        archived(lambda file: np.savez(file, a=np.zeros(3))),
        "it is a zip archive, but not one of torch.save",
    ),
    "TorchScript": (jit_program(), "it is a program of TorchScript, not a file of torch.save"),
    "compressed": (
        zipped(zipfile.ZIP_DEFLATED, data_pkl=b"\x80\x02}."),
        "it is a compressed archive, which torch.save never writes",
    ),
    "unknown opcode": (
        zipped(data_pkl=b"\x80\x02\xffabc.", version=b"3\n"),
        "it is damaged, or holds more than tensors and plain values",
    ),
    "another protocol": (
        saved(CONTENT, pickle_protocol=4),
        "it is damaged, or holds more than tensors and plain values",
    ),
    "no pickle": (zipped(data_pkl=b"", version=b"3\n"), DAMAGED),
    "a call": (saved(Call(os.mkdir, "ran")), REFUSED.format("posix.mkdir")),
    "an old call": (saved(Call(os.mkdir, "ran"), **OLD), REFUSED.format("posix.mkdir")),
    "a pickled call": (
        pickle.dumps(Call(os.mkdir, "ran"), protocol=2),
        REFUSED.format("posix.mkdir"),
    ),
    "a builtin": (saved(Call(eval, "1")), REFUSED.format("eval")),
    "a class": (saved(collections.deque()), REFUSED.format("collections.deque")),
    "a network": (saved(torch.nn.ReLU()), REFUSED.format("torch.nn.modules.activation.ReLU")),
    **{f"cut at {s}": (truncated(saved(CONTENT), s), DAMAGED) for s in (0.01, 0.3, 0.6, 0.99)},
    **{
        f"old cut at {s}": (truncated(saved(CONTENT, **OLD), s), DAMAGED)
        for s in (0.05, 0.1, 0.3, 0.6, 0.99)
    },
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    content, reason = FILES[file]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        load_tensors("file")
    assert str(refused.value) == reason
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("name", ["a.ckpt", "b.safetensors"])
@pytest.mark.parametrize("is_old", [False, True])
def test_what_was_saved_comes_back(tmp_path, is_old, name):
    torch.save(CONTENT, tmp_path / name, _use_new_zipfile_serialization=not is_old)
    loaded = load_tensors(tmp_path / name)
    assert torch.equal(loaded["a"], CONTENT["a"])
    assert loaded["b"] == CONTENT["b"]


def test_a_flipped_bit_is_found_or_harmless(tmp_path):
    path, content, generator = tmp_path / "file", saved(CONTENT), random.Random(0)
    reasons = []
    for _ in range(200):
        flipped = bytearray(content)
        flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        try:
            loaded = load_tensors(path)
        except ValueError as error:
            reasons.append(str(error))
        else:
            assert torch.equal(loaded["a"], CONTENT["a"])
            assert loaded["b"] == CONTENT["b"]
    assert len(reasons) > 50
    assert all(reason.startswith(("it is ", "the checksum of ")) for reason in reasons)


def test_a_file_that_cannot_be_read_has_the_reason_of_the_operating_system(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "none")
    (tmp_path / "file").write_bytes(saved(CONTENT))

    def fail(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", fail)
    with pytest.raises(PermissionError, match="Permission denied"):
        load_tensors(tmp_path / "file")


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"a": 1},
        {1: torch.ones(1)},
        {"a": torch.ones(2).to_sparse()},
        {"a": torch.ones(2, dtype=torch.complex64)},
        {"a": torch.empty(2, device="meta")},
        {"a": torch.zeros(1).expand(10**6, 10**6)},  # would not fit into memory
    ],
)
def test_only_plain_tensors_by_name_are_a_state_dict(state):
    assert is_state_dict({"a": torch.ones(2), "b": torch.ones(2, 3).T})
    assert not is_state_dict(state)


def test_the_first_difference_is_named():
    shapes = {name: torch.Size([2, 3]) for name in "abc"}
    state = {name: torch.ones(2, 3) for name in "abc"}
    assert find_misfit(state, shapes) is None
    assert find_misfit({"c": state["c"]}, shapes) == "it lacks a and 1 more"
    foreign = state | {"d": state["a"], "e": state["a"]}
    assert find_misfit(foreign, shapes) == (
        "it holds d and 1 more, which the network does not have"
    )
    other = state | {"b": torch.ones(2, 4)}
    assert find_misfit(other, shapes) == "b has shape [2, 4], must have [2, 3]"


def test_values_that_are_not_finite_are_counted():
    state = {"a": torch.ones(2), "b": torch.tensor([1, torch.nan, -torch.inf])}
    assert find_not_finite(state) == "2 of 3 values of b are NaN or infinite"
    cancelling = {"c": torch.tensor([torch.inf, -torch.inf])}
    assert find_not_finite(cancelling) == "2 of 2 values of c are NaN or infinite"
    large = torch.full([4], torch.finfo(torch.float32).max)
    assert find_not_finite({"a": large, "n": torch.tensor(3), "e": torch.empty(0)}) is None
