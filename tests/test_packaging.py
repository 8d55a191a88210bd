"""The package works from a clone, from an editable install and from a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_imports import COMMANDS


def python(*args, cwd, path=None):
    """Runs Python in `cwd`, with `path` before everything installed."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(name) for name in listed.stdout.splitlines()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The files of the repository, in another folder."""
    folder = tmp_path_factory.mktemp("clone")
    for name in tracked_files():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory):
    """The wheel that is built from the clone."""
    target = tmp_path_factory.mktemp("wheel")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
    done = python(*command, cwd=clone)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def where_it_runs_from(**options):
    script = "import mnist_vision.common.conf as c; print(c.__file__); print(c.CONF_DIR)"
    return [Path(line) for line in python("-c", script, **options).stdout.split()]


def test_the_wheel_holds_all_modules_and_all_of_conf(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set()
    for name in tracked_files():
        if name.parts[0] == "mnist_vision":
            expected.add(name.as_posix())
        elif name.parts[0] == "conf":
            expected.add(f"mnist_vision/{name.as_posix()}")
    assert held == expected


def test_a_wheel_trains_in_another_directory(installed, tmp_path, mnist_root):
    module, conf = where_it_runs_from(cwd=tmp_path, path=installed)
    assert module.is_relative_to(installed)
    assert conf == installed / "mnist_vision" / "conf"
    done = python("-m", "mnist_vision.train", "debug=smoke", cwd=tmp_path, path=installed)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/cnn/*/results.json"))) == 1


def test_a_clone_works_where_it_lies(clone):
    module, conf = where_it_runs_from(cwd=clone)
    assert module.is_relative_to(clone)
    assert conf == clone / "conf"
    done = python("-m", "mnist_vision.train", "--cfg", "job", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert "mnist_vision.models.cnn.CNN" in done.stdout


def test_the_editable_install_works_from_any_directory(tmp_path):
    module, conf = where_it_runs_from(cwd=tmp_path)
    assert module == ROOT / "mnist_vision" / "common" / "conf.py"
    assert conf == ROOT / "conf"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_console_scripts_answer(name, tmp_path):
    script = Path(sys.executable).with_name(f"mnist-vision-{name}")
    done = subprocess.run(
        [script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_make_help_lists_what_there_is():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("train", "lab", "compare", "test", "install", "check", "benchmark", "serve"):
        assert f"make {target} " in done.stdout
