"""The command: what it checks, what it prints, and how it ends."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mnist_vision.inference.web import serving
from tests.conftest import ROOT
from tests.inference.web.fakes import FakePredictor, picture

# The command in a process of its own, whose models need no file.
SCRIPT = """
import time
from pathlib import Path
from mnist_vision.inference import predictor
from mnist_vision.serve import main
from tests.inference.web.fakes import FakePredictor
slow = lambda: time.sleep(0.5)
predictor.load_predictor = lambda path: FakePredictor(Path(path).stem, before=slow)
main()
"""


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def started(tmp_path, free_port):
    """The command, started in an empty folder; its port and its process."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "ckpt_path=[cnn.ckpt,vgg16.ckpt]", f"port={free_port}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(3)]
    yield free_port, process, lines
    process.kill()
    process.communicate()


def test_it_prints_the_models_and_the_address(started):
    port, _, lines = started
    assert lines[0].split() == ["cnn", "cnn.ckpt"]
    assert lines[1].split() == ["vgg16", "vgg16.ckpt"]
    assert f"http://127.0.0.1:{port}" in lines[2]


def test_other_computers_cannot_reach_it(started):
    port, process, _ = started
    table = Path(f"/proc/{process.pid}/net/tcp").read_text()
    addresses = {line.split()[1] for line in table.splitlines()[1:]}
    assert {each for each in addresses if each.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_it_answers_and_leaves_its_log_only(started, tmp_path, signum, code):
    port, process, _ = started
    idle = http.client.HTTPConnection("127.0.0.1", port)
    idle.request("GET", "/health")
    assert idle.getresponse().read()

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("POST", "/api/predict", picture())
            connection.getresponse().read()
        except OSError:
            pass
        finally:
            connection.close()

    clients = [threading.Thread(target=ask) for _ in range(16)]  # 16 seconds of work
    for client in clients:
        client.start()
    time.sleep(0.3)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=10)
    for client in clients:
        client.join()
    idle.close()
    assert process.returncode == code
    assert errors == f"error: stopped by {signum.name}\n"
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"serve.log", ".lock"}
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again


def mistake(run_here, *args):
    """The one line of a command that fails."""
    code, output = run_here("serve", *args)
    assert code == 1
    assert output.out == ""
    (line,) = output.err.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("port=0", "port=0: must be a whole number from 1 to 65535"),
        ("port=65536", "port=65536: must be a whole number from 1 to 65535"),
        ("port=http", "port=http: must be a whole number from 1 to 65535"),
        ("ckpt_path=5", "ckpt_path=5: must be a path, or a list of paths"),
        ("ckpt_path=[]", "ckpt_path=[]: must be a path, or a list of paths"),
        ("host=0.0.0.0", "unknown key host; did you mean port?"),
    ],
)
def test_a_wrong_setting_is_one_line(run_here, tmp_path, argument, line):
    assert mistake(run_here, argument).startswith(line.partition(";")[0])
    assert list(tmp_path.iterdir()) == []


def test_without_a_run_it_says_how_to_train_one(run_here, tmp_path):
    expected = "outputs: no completed run in it; train one with python -m mnist_vision.train"
    assert mistake(run_here).startswith(expected)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_does_not_exist_is_named(run_here, free_port):
    assert "none.ckpt: no such file" in mistake(
        run_here, "ckpt_path=none.ckpt", f"port={free_port}"
    )


def test_a_port_in_use_is_named(run_here, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        line = mistake(run_here, f"port={port}", "ckpt_path=a.ckpt")
    assert line == f"port={port}: is in use; choose another with port=N"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "python-multipart"])
def test_a_missing_package_is_named(run_here, monkeypatch, package):
    missing = package.replace("-", "_")
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == missing else name)
    expected = f"{package}: is not installed; pip install 'mnist_vision[serve]'"
    assert mistake(run_here) == expected


def test_models_of_one_architecture_have_names_of_their_own(monkeypatch):
    monkeypatch.setattr(
        "mnist_vision.inference.predictor.load_predictor",
        lambda path: FakePredictor(Path(path).stem),
    )
    models = serving.load_models(["cnn.ckpt", "vgg16.ckpt", "a/cnn.ckpt", "b/cnn.ckpt"])
    names = [model.name for model in models]
    assert names == ["cnn", "vgg16", "cnn 2", "cnn 3"]
