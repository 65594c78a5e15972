"""A bounded queue, and a loop that runs the model on batches of what waits in it.

The model runs in a thread, so that the event loop goes on reading requests: PyTorch gives the interpreter's lock back
while it computes.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Collect = Callable[[asyncio.Queue, int, float], Awaitable[list]]


class Full(Exception):
    """No place in the queue; `retry_after` is in how many whole seconds there may be one."""

    def __init__(self, waiting: int, retry_after: int):
        super().__init__(f"{waiting} requests wait already")
        self.retry_after = retry_after


async def collect(queue: asyncio.Queue, most: int, wait: float) -> list:
    """Wait for a first item, then take what comes within `wait` seconds of it, `most` items at most."""
    batch = [await queue.get()]
    until = time.monotonic() + wait
    while len(batch) < most:
        if not queue.empty():
            batch.append(queue.get_nowait())
            continue
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            batch.append(await asyncio.wait_for(queue.get(), left))
        except TimeoutError:
            break
    return batch


def admit(waiting: int, limit: int, pace: float) -> int | None:
    """None if one more request may wait; else in how many whole seconds, at least one, the sender may try again.

    By then, those `waiting` now will have been served: `pace` is the seconds that one of them takes.
    """
    if waiting < limit:
        return None
    return max(1, math.ceil(waiting * pace))


class Batcher:
    """Answers `predict(item)` for many callers by running `run` on a stack of their items.

    Args:
        run: (n, ...) array in, array with n rows out. It is called in one thread, a batch at a time.
        most: images of a batch, at most.
        wait: seconds that the first image of a batch waits for others, at most.
        limit: images that may wait; one more is refused. What is being computed does not count.
        collect: how a batch is put together: takes the queue, `most` and `wait`.
        admit: whether one more may wait: takes how many do, `limit`, and the seconds that one takes.
        seen: told the size and the seconds of each batch.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray],
        most: int = 16,
        wait: float = 0.002,
        limit: int = 64,
        collect: Collect = collect,
        admit: Callable[[int, int, float], int | None] = admit,
        seen: Callable[[int, float], Any] = lambda size, seconds: None,
    ):
        if most < 1 or wait < 0 or limit < 1:
            raise ValueError(
                f"most={most}, wait={wait}, limit={limit}: give at least 1 image, 0 seconds, 1 place"
            )
        self.run, self.most, self.wait, self.limit = run, most, wait, limit
        self.collect, self.admit, self.seen = collect, admit, seen
        self.queue: asyncio.Queue = asyncio.Queue()
        self.computing = 0
        self.pace = 0.0  # seconds of an image, a moving mean
        self._thread = ThreadPoolExecutor(1, "model")
        self._loop: asyncio.Task | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._loop = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Answer everything that waits, then stop."""
        while (not self.queue.empty() or self.computing) and self._loop and not self._loop.done():
            await asyncio.sleep(0.005)
        if self._loop:
            self._loop.cancel()
        self._thread.shutdown()

    async def predict(self, item: np.ndarray) -> np.ndarray:
        """The row of `run`'s result for this item. Raises Full if `limit` items wait already."""
        waiting = self.queue.qsize()
        if (retry_after := self.admit(waiting, self.limit, self.pace)) is not None:
            raise Full(waiting, retry_after)
        answer = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((item, answer))
        return await answer

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self.collect(self.queue, self.most, self.wait)
            batch = [(item, answer) for item, answer in batch if not answer.done()]  # whose caller has left
            if not batch:
                continue
            self.computing = len(batch)
            began = time.perf_counter()
            try:
                rows = await loop.run_in_executor(
                    self._thread, self.run, np.stack([item for item, _ in batch])
                )
            except Exception as error:  # of the model: its callers are told, and the loop goes on
                rows = [error] * len(batch)
            seconds = time.perf_counter() - began
            self.pace += 0.1 * (seconds / len(batch) - self.pace)
            self.seen(len(batch), seconds)
            for (_, answer), row in zip(batch, rows, strict=True):
                if answer.done():
                    continue
                if isinstance(row, Exception):
                    answer.set_exception(row)
                else:
                    answer.set_result(row)
            self.computing = 0


class Stub:
    """In place of a model: takes the same time for every batch, and says 0. It needs no torch, and starts at once.

    Args:
        seconds: what a batch takes. The thread sleeps, as it would while an accelerator computes.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __call__(self, images: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds)
        return np.tile(np.eye(1, 10, dtype=np.float32), (len(images), 1))
