"""A command in a process of its own, as a user runs it."""

import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

TIMEOUT_SECONDS = 180


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


class Process:
    """`python -m mnist_vision.train`, whose output is read as it comes.

    Args:
        folder: The working directory.
        arguments: What follows on the command line.
    """

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "mnist_vision.train", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._out: list[str] = []
        self._err: list[str] = []
        pipes = ((self._popen.stdout, self._out), (self._popen.stderr, self._err))
        self._readers = [threading.Thread(target=_read, args=each) for each in pipes]
        for reader in self._readers:
            reader.start()

    def prints(self, start: str, times: int = 1) -> bool:
        """Test whether so many lines of output begin like this, so far."""
        return sum(line.startswith(start) for line in self._out) >= times

    def is_over(self) -> bool:
        return self._popen.poll() is not None

    def wait_until(self, is_reached: Callable[[], bool]) -> None:
        """Wait until something is reached, or the process is over."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (self.is_over() or is_reached()):
            assert time.monotonic() < deadline, f"waited too long; output: {self._out}"
            time.sleep(0.0005)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the process is over."""
        end = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() > end)

    def handles_signals(self) -> bool:
        """Test whether it handles SIGTERM yet; before, Python has begun to import."""
        status = Path(f"/proc/{self._popen.pid}/status").read_text()
        caught = re.search(r"SigCgt:\s*(\w+)", status)
        return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)

    def send(self, signum: int) -> None:
        self._popen.send_signal(signum)

    def limit_files(self, size: int) -> None:
        """Let files grow to so many bytes from now on: a full disk."""
        with suppress(ProcessLookupError):  # it is over
            resource.prlimit(self._popen.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def end(self) -> Ended:
        """Wait until it is over."""
        code = self._popen.wait(TIMEOUT_SECONDS)
        for reader in self._readers:
            reader.join()
        return Ended(code, "".join(self._out), "".join(self._err))


def _read(pipe: IO[str], lines: list[str]) -> None:
    with pipe:
        for line in pipe:
            lines.append(line)
