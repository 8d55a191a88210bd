"""What tests share: synthetic digits, the real ones, and commands run as a user runs them."""

import functools
import importlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mnist_vision.common.conf import CONF_DIR
from mnist_vision.data.download import ensure_mnist
from mnist_vision.training.run import run as run_training

# The tests' networks are tiny, and several tests run at once: a second thread costs more than it
# gives, here and in the processes that tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# A shell that starts the tests in the background makes them ignore SIGINT, and so all processes
# that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# As in a shell in which the environment is activated: commands are printed as `python -m ...`.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

ROOT = Path(__file__).resolve().parents[1]


def synthetic_digits(num_images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images `[N, 1, 28, 28]` uint8 and targets `[N]`: a bar for each class, and noise."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(num_images) % 10
    images = torch.randint(0, 60, (num_images, 1, 28, 28), generator=generator, dtype=torch.uint8)
    for image, target in zip(images, targets, strict=True):
        image[0, 4 + 2 * target : 6 + 2 * target, 6:22] = 255
    return images, targets


def put_in_place_of_mnist(monkeypatch: pytest.MonkeyPatch, num_train: int, num_test: int) -> None:
    """Has synthetic images stand for MNIST's, in this process."""

    def load_split(root: str, split: str) -> tuple[Tensor, Tensor]:
        return synthetic_digits(num_train if split == "train" else num_test, seed=len(split))

    module = "mnist_vision.data.datamodule"
    monkeypatch.setattr(f"{module}.load_split", load_split)
    monkeypatch.setattr(f"{module}.ensure_mnist", lambda root, download: None)


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts 600 training and 200 test images in MNIST's place, in this process."""
    put_in_place_of_mnist(monkeypatch, 600, 200)


@pytest.fixture(scope="session")
def mnist_root() -> str:
    """Where the real MNIST lies; fetched now if it is not there yet."""
    root: str = composed().data.root
    ensure_mnist(root)
    return root


@pytest.fixture(scope="session")
def trained_cnn(mnist_root: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a CNN that reads 99 % of MNIST; trained once, whatever the processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which the processes of this session share
    run_dir = folder / "trained_cnn"
    with FileLock(folder / "trained_cnn.lock"):
        if not (run_dir / "results.json").exists():
            settings = ["experiment=speedrun", "logger=null", f"hydra.run.dir={run_dir}"]
            command = [sys.executable, "-m", "mnist_vision.train", *settings]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return run_dir / "checkpoints" / "best.ckpt"


def composed(*overrides: str, config_name: str = "train") -> DictConfig:
    """The configuration as the command line would compose it."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(config_name, list(overrides))


@pytest.fixture
def run_config(tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes a configuration of `train` for a short run on synthetic digits."""

    def make(*overrides: str) -> DictConfig:
        short = ["trainer=cpu", "data.val_size=100", "trainer.max_epochs=2"]
        config = composed(*short, "trainer.log_every_n_steps=1", *overrides)
        OmegaConf.update(config, "output_dir", str(tmp_path / "run"))
        (tmp_path / "run").mkdir(exist_ok=True)
        return config

    return make


@pytest.fixture
def run(digits: None, run_config: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., Path]:
    """Trains on synthetic digits, in this process; gives the run directory."""

    def go(*overrides: str) -> Path:
        run_training(run_config(*overrides))
        return tmp_path / "run"

    return go


def results_of(run_dir: Path) -> dict[str, Any]:
    """What a complete run left in its `results.json`."""
    results: dict[str, Any] = json.loads((run_dir / "results.json").read_text())
    return results


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m mnist_vision.NAME ARGS...` in an empty folder."""

    def run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"mnist_vision.{name}", *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any]]:
    """Runs `NAME ARGS...` in this process, as a user's shell would: exit code and output."""

    def run(name: str, *args: str) -> tuple[int, Any]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *args])
        # What a command sets for its process is put back for the tests to come.
        monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
        monkeypatch.setattr(threading, "excepthook", threading.excepthook)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
        log_handlers = logging.root.handlers[:]
        handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        code: Any = 0
        try:
            importlib.import_module(f"mnist_vision.{name}").main()
        except SystemExit as end:
            code = end.code
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
            # Hydra's write to streams that pytest closes.
            for handler in set(logging.root.handlers) - set(log_handlers):
                logging.root.removeHandler(handler)
                handler.close()
        return code, capsys.readouterr()

    return run


@pytest.fixture
def run_task(run_here: Callable[..., tuple[int, Any]]) -> Callable[..., tuple[int, Any]]:
    """Runs `train ARGS...` in this process."""
    return functools.partial(run_here, "train")


@pytest.fixture
def kill_while_writing() -> Callable[[Path], Path]:
    """Kills a process that has written half of a file; gives the temporary file that it left."""

    def kill(path: Path) -> Path:
        script = (
            "import os, signal, sys\n"
            "from mnist_vision.common.files import write_atomically\n"
            "with write_atomically(sys.argv[1]) as file:\n"
            "    file.write(b'half')\n"
            "    file.flush()\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        before = set(path.parent.iterdir())
        done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
        assert done.returncode == -signal.SIGKILL
        (leftover,) = set(path.parent.iterdir()) - before
        return leftover

    return kill


@contextmanager
def limited_file_size(num_bytes: int) -> Iterator[None]:
    """Limits the size of the files that this process writes, as a quota or a full disk would.

    The limit holds for pytest's own output too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
