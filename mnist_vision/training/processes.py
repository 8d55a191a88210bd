"""Notice when one of several processes of a training dies."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

POLL_SECONDS = 0.2
# Time for the first process to end by itself: it usually notices a lost connection.
GRACE_SECONDS = 5


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

    def death(self) -> str:
        """Say which process died first, and how; empty if none did."""
        for rank, process in enumerate(self._processes, 1):
            code = process.poll()
            if code:
                how = (
                    f"was killed by {signal.Signals(-code).name}"
                    if code < 0
                    else f"ended with exit code {code}"
                )
                number, total = rank + 1, len(self._processes) + 1
                return f"process {number} of {total} {how}; resume the run from its last.ckpt"
        return ""

    def kill(self) -> None:
        """Kill the other processes, which would wait for this one."""
        if self._launcher is not None:  # it holds them until the first look
            for process in (*self._processes, *self._launcher.procs):
                process.kill()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            started = self._launcher.procs
            if started:
                self._processes = list(started)
                started.clear()  # so that Lightning does not kill this process
            message = self.death()
            if message and not self._ended.wait(GRACE_SECONDS):
                self.kill()
                sys.stdout.flush()
                sys.stderr.write(f"error: {message}\n")
                sys.stderr.flush()
                os._exit(1)  # the main thread waits in a library
