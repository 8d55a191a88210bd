import errno
import io
import stat
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch

from mnist_vision.common.errors import UserError
from mnist_vision.common.files import (
    explain_os_error,
    lock_directory,
    read_json,
    shown,
    write_atomically,
    write_json,
)
from tests.conftest import limited_file_size


def test_write_makes_the_folder_and_the_file(tmp_path):
    path = tmp_path / "new" / "file"
    with write_atomically(path) as file:
        file.write(b"contents")
    assert path.read_bytes() == b"contents"
    assert [child.name for child in path.parent.iterdir()] == ["file"]


def test_written_file_has_the_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    with write_atomically(tmp_path / "file") as file:
        file.write(b"")
    mode = (tmp_path / "file").stat().st_mode
    assert stat.S_IMODE(mode) == stat.S_IMODE(usual.stat().st_mode)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), write_atomically(path) as file:
        file.write(b"new") and file.write("not bytes")
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write(bytes(10_000)),
        lambda file: torch.save(torch.ones(10_000), file),
        lambda file: np.savez(file, np.ones(10_000)),
    ],
    ids=["bytes", "tensors", "arrays"],
)
def test_a_file_that_finds_no_space_is_named_and_the_old_one_stays(tmp_path, write):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        limited_file_size(5_000),
        pytest.raises(OSError, match="File too large") as caught,
        write_atomically(path) as file,
    ):
        write(file)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_made_is_named_and_not_its_temporary_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(IsADirectoryError) as caught,
        write_atomically(tmp_path / "folder"),
    ):
        pass
    assert caught.value.filename == str(tmp_path / "folder")


def test_another_error_while_writing_stays_as_it_is(tmp_path):
    with pytest.raises(io.UnsupportedOperation), write_atomically(tmp_path / "file") as file:
        file.read()
    missing = pytest.raises(FileNotFoundError, match="elsewhere")
    with missing, write_atomically(tmp_path / "file"):
        (tmp_path / "elsewhere").read_bytes()


@pytest.mark.parametrize(
    ("error", "explanation"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "run: No space left on device; free space on its disk, or choose another directory "
            "with hydra.run.dir=DIR",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", b"run/a/b"),
            "run/a/b: Read-only file system; make its disk writable, or choose another directory "
            "with hydra.run.dir=DIR",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "data/a"),
            "data/a: Permission denied; change its permissions",
        ),
        (
            OSError(errno.ENOENT, "No such file or directory", "run/a"),
            "run/a: No such file or directory",
        ),
        (OSError("odd"), "run: odd"),
    ],
)
def test_an_error_of_a_file_names_it_and_says_what_to_do(tmp_path, monkeypatch, error, explanation):
    monkeypatch.chdir(tmp_path)
    assert explain_os_error(error, tmp_path / "run", "hydra.run.dir") == explanation


def test_an_error_of_a_file_without_a_directory_is_explained_too():
    error = OSError(errno.ENOSPC, "No space left on device")
    assert explain_os_error(error) == "No space left on device; free space on its disk"


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path, kill_while_writing):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    kill_while_writing(path)
    assert path.read_bytes() == b"old"


def test_the_next_owner_of_a_folder_deletes_what_a_killed_one_left(tmp_path, kill_while_writing):
    leftover = kill_while_writing(tmp_path / "best.ckpt")
    assert leftover.read_bytes() == b"half"
    own = [f"letter.{uuid4().hex}", f".letter.{uuid4().hex}.txt", f".{uuid4().hex}", ".letter.0123"]
    for name in own:
        (tmp_path / name).touch()
    with lock_directory(tmp_path, "hydra.run.dir"):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", *own}


def test_the_file_of_a_living_writer_is_not_deleted(tmp_path):
    with (
        lock_directory(tmp_path, "hydra.run.dir"),
        write_atomically(tmp_path / "file") as file,
    ):
        file.write(b"whole")
        refused = pytest.raises(UserError, match="another process")
        with refused, lock_directory(tmp_path, "hydra.run.dir"):
            pass
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_folder_has_one_owner(tmp_path):
    script = (
        "import pathlib, sys\n"
        "from mnist_vision.common.files import lock_directory\n"
        "with lock_directory(pathlib.Path(sys.argv[1]), 'hydra.run.dir'):\n"
        "    print('mine', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"mine\n"
        held = pytest.raises(UserError, match=r"another process .* hydra\.run\.dir=DIR")
        with held, lock_directory(tmp_path, "hydra.run.dir"):
            pass
        other.stdin.close()
    with lock_directory(tmp_path, "hydra.run.dir"):
        pass


def test_a_path_is_shown_relative_where_it_lies_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(shown(tmp_path / "a" / "b")) == "a/b"
    assert str(shown("a/b")) == "a/b"
    assert shown("/elsewhere/b") == Path("/elsewhere/b")


def test_a_file_that_is_no_json_reads_as_empty(tmp_path):
    for content in ("{", "[1]"):
        (tmp_path / "file").write_text(content)
        assert read_json(tmp_path / "file") == {}
    assert read_json(tmp_path / "missing") == {}


def test_what_is_no_json_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "results.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
