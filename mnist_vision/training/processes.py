"""Notice when one of several processes of a training dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

POLL_SECONDS = 0.2
# Time for the first process to end by itself: it usually notices a lost connection.
GRACE_SECONDS = 5
# A killed process loses its connections a moment before its exit code is known.
EXIT_SECONDS = 1


class ProcessWatch:
    """Watch the processes that the first process of a training starts.

    If one dies, the others could wait for it for half an hour. Lightning would kill the first one
    without a word.

    Args:
        launcher: The launcher of the trainer's strategy; None if there is one process.
    """

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended = threading.Event()

    def __enter__(self) -> "ProcessWatch":
        if self._launcher is not None:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._ended.set()

    def explain(self) -> str:
        """Say which death of a process can explain an error; empty if none died."""
        deadline = time.monotonic() + EXIT_SECONDS
        while self._started() and not self._death() and time.monotonic() < deadline:
            time.sleep(EXIT_SECONDS / 20)
        return self._death()

    def kill(self) -> None:
        """Kill the other processes, which would wait for this one."""
        for process in self._started():
            process.kill()

    def _started(self) -> list[subprocess.Popen[bytes]]:
        # The launcher holds them until the first look.
        return [*self._processes, *getattr(self._launcher, "procs", ())]

    def _death(self) -> str:
        started = self._started()
        for rank, process in enumerate(started, 1):
            code = process.poll()
            if code:
                how = (
                    f"was killed by {signal.Signals(-code).name}"
                    if code < 0
                    else f"ended with exit code {code}"
                )
                number, total = rank + 1, len(started) + 1
                return f"process {number} of {total} {how}; resume the run from its last.ckpt"
        return ""

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            started = self._launcher.procs
            if started:
                self._processes = list(started)
                started.clear()  # so that Lightning does not kill this process
            message = self._death()
            if message and not self._ended.wait(GRACE_SECONDS):
                self.kill()
                sys.stdout.flush()
                sys.stderr.write(f"error: {message}\n")
                sys.stderr.flush()
                os._exit(1)  # the main thread waits in a library
