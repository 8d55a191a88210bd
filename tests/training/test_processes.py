"""Several processes train together, and one of them dies."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from mnist_vision.training.processes import ProcessWatch

TINY = (
    "trainer=ddp", "trainer.accelerator=cpu", "debug=smoke", "trainer.max_epochs=1000",
    "model.widths=[4]", "model.hidden=8", "hydra.run.dir=run",
)  # fmt: skip


def second_process(pid):
    """The id of the second training process; a process may have other, short-lived children."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return int(child)
    return None


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("moment", ["start", "training"])
def test_a_killed_process_is_named_and_the_others_end(tmp_path, mnist_root, moment):
    command = [sys.executable, "-m", "mnist_vision.train", *TINY]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: second_process(process.pid), process)
        second = second_process(process.pid)
        if moment == "training":
            wait_for((tmp_path / "run" / "checkpoints" / "best.ckpt").exists, process)
        os.kill(second, signal.SIGKILL)
        killed = time.monotonic()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    expected = "error: process 2 of 2 was killed by SIGKILL; resume the run from its last.ckpt"
    assert err.splitlines()[-1].startswith(expected)
    assert "Traceback" not in out + err
    assert time.monotonic() - killed < 30


def test_a_death_that_is_known_late_explains_an_error():
    with subprocess.Popen(["bash", "-c", "sleep 0.3; kill -9 $$"]) as process:
        watch = ProcessWatch(SimpleNamespace(procs=[process]))
        assert watch.explain().startswith("process 2 of 2 was killed by SIGKILL")


def test_an_error_of_the_first_process_alone_is_not_explained():
    assert ProcessWatch(None).explain() == ""
    with subprocess.Popen(["sleep", "60"]) as process:
        watch = ProcessWatch(SimpleNamespace(procs=[process]))
        assert watch.explain() == ""
        watch.kill()
