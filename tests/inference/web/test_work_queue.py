import asyncio
import threading

import pytest

from mnist_vision.inference.web.work_queue import QueueFullError, WorkQueue


def test_work_runs_in_one_thread_beside_the_event_loop():
    async def main():
        queue = WorkQueue(10)
        return await asyncio.gather(*(queue.run(threading.get_ident) for _ in range(5)))

    (worker,) = set(asyncio.run(main()))
    assert worker != threading.get_ident()


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ZeroDivisionError):
        asyncio.run(WorkQueue(1).run(lambda: 1 / 0))


def test_cancelled_work_is_not_done_and_its_place_is_free():
    done, may_end = [], threading.Event()

    async def main():
        queue = WorkQueue(1)
        first = asyncio.create_task(queue.run(may_end.wait))
        second = asyncio.create_task(queue.run(lambda: done.append("second")))
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFullError):
            await queue.run(lambda: done.append("refused"))
        second.cancel()
        await asyncio.sleep(0.05)
        third = asyncio.create_task(queue.run(lambda: done.append("third")))
        may_end.set()
        await asyncio.gather(first, third)

    asyncio.run(main())
    assert done == ["third"]
