"""Do blocking work in one thread beside the event loop, with a bounded number of waiting calls."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

Result = TypeVar("Result")


class QueueFullError(Exception):
    """As many calls wait as may wait."""


class WorkQueue:
    """One worker thread, and the calls that wait for it.

    Args:
        max_waiting: How many calls may wait while one is worked on.
    """

    def __init__(self, max_waiting: int) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        # A semaphore, because the worker thread gives places back.
        self._places = BoundedSemaphore(max_waiting + 1)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the worker thread. If the caller is cancelled, its place is free again.

        Work that has begun goes on to its end, and holds its place until then.

        Raises:
            QueueFullError: If no place is free.
        """
        if not self._places.acquire(blocking=False):
            raise QueueFullError
        future = self._worker.submit(work)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)
