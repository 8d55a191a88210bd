import stat
import subprocess
import sys

import pytest

from mnist_vision.errors import UserError
from mnist_vision.files import own_folder, write_atomically


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


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    script = (
        "import os, signal, sys\n"
        "from mnist_vision.files import write_atomically\n"
        "with write_atomically(sys.argv[1]) as file:\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


def test_a_folder_has_one_owner(tmp_path):
    script = (
        "import pathlib, sys\n"
        "from mnist_vision.files import own_folder\n"
        "with own_folder(pathlib.Path(sys.argv[1])):\n"
        "    print('mine', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(UserError, match="another process"), own_folder(tmp_path):
            pass
        other.stdin.close()
    with own_folder(tmp_path):
        pass
