"""Requests that come one at a time, answered in batches. Runs on asyncio; knows nothing of HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


class Full(Exception):
    """So many requests wait already that this one is refused."""


class Closed(Exception):
    """The batcher takes no more requests."""


### BEGIN SOLUTION
@dataclass(eq=False)
class _Request:
    """One that waits."""

    item: Any
    since: float
    answer: asyncio.Future


### END SOLUTION
class Batcher:
    """Collects requests into batches for a model that takes one batch at a time."""

    def __init__(
        self,
        model: Callable[[list[Any]], Awaitable[list[Any]]],
        max_batch: int,
        max_wait: float,
        max_queue: int,
    ):
        """`model(items)` is awaited with a list of 1 to `max_batch` items, and gives a list of as many answers.

        The constructor may run before there is an event loop, the other methods run in one. `max_wait` is in
        seconds of that loop's clock, `loop.time()`.
        """
        ### BEGIN SOLUTION
        self._model, self._max_batch, self._max_wait, self._max_queue = model, max_batch, max_wait, max_queue
        self._waiting: list[_Request] = []
        self._running: asyncio.Task | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        ### END SOLUTION

    async def predict(self, item: Any) -> Any:
        """Return the model's answer to `item`.

        A batch starts when the model is free, and `max_batch` requests wait or the oldest has waited `max_wait`. It
        consists of the oldest ones. Raises Full at once where `max_queue` requests wait already, Closed after `close`
        was called, and what the model raised for the batch of this item. Whoever is cancelled while he waits is
        in no batch.
        """
        ### BEGIN SOLUTION
        if self._closed:
            raise Closed
        if len(self._waiting) >= self._max_queue:
            raise Full
        loop = asyncio.get_running_loop()
        request = _Request(item, loop.time(), loop.create_future())
        self._waiting.append(request)
        self._look()
        try:
            return await request.answer
        except asyncio.CancelledError:
            if request in self._waiting:
                self._waiting.remove(request)
                self._look()
            raise
        ### END SOLUTION

    async def close(self) -> None:
        """Take no more requests, answer those that wait, without `max_wait`, and return when that is done."""
        ### BEGIN SOLUTION
        self._closed = True
        self._look()
        while self._running is not None:
            await asyncio.wait([self._running])
        ### END SOLUTION

    ### BEGIN SOLUTION
    def _look(self, due: bool = False) -> None:
        """Start a batch if it is time, or see to it that somebody looks when it is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is not None or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        until = self._waiting[0].since + self._max_wait
        if due or self._closed or len(self._waiting) >= self._max_batch or loop.time() >= until:
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            self._running = asyncio.create_task(self._run(batch))
        else:
            # `due` because a timer may fire a moment before its time.
            self._timer = loop.call_at(until, self._look, True)

    async def _run(self, batch: list[_Request]) -> None:
        """Ask the model, hand out its answers, and look for the next batch."""
        try:
            answers = await self._model([request.item for request in batch])
            for request, answer in zip(batch, answers, strict=True):
                if not request.answer.done():  # cancelled
                    request.answer.set_result(answer)
        except Exception as error:
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
        finally:
            self._running = None
            self._look()

    ### END SOLUTION
