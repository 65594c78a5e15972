"""Pages that need many answers, and second copies of requests that are late (Dean and Barroso 2013)."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from effdl import load


class Pages:
    """Sends pages: each needs ``fan_out`` answers of one service, and is done when all have come.

    With ``hedge`` seconds, a request that has no answer by then is sent once more, and the first answer counts.
    ``requests`` and ``copies`` count what was sent. Use it as the ``send`` of a load.
    """

    def __init__(self, url: str, fan_out: int, hedge: float | None = None):
        self.http, self.fan_out, self.hedge = load.Http(url), fan_out, hedge
        self.requests = self.copies = 0

    async def __aenter__(self) -> "Pages":
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *what: object) -> None:
        await self.http.__aexit__(*what)

    async def __call__(self, number: int) -> str | None:
        wrong = await asyncio.gather(*(self._one() for _ in range(self.fan_out)))
        return next((word for word in wrong if word), None)

    async def _one(self) -> str | None:
        self.requests += 1
        first = asyncio.ensure_future(self.http())
        if self.hedge is None:
            return await first
        done, _ = await asyncio.wait({first}, timeout=self.hedge)
        if done:
            return first.result()
        self.copies += 1
        both = {first, asyncio.ensure_future(self.http())}
        done, late = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        return done.pop().result()


Ask = Callable[[], "Future[Any]"]


def trial(hedged: Callable[[Ask, float], Any]) -> Callable[[list[float], float], tuple[Any, int]]:
    """Runs a hedging function against requests that take given times.

    The result takes ``(delays, after)``: the first request is answered with "answer 1" after ``delays[0]`` seconds,
    the second with "answer 2", and so on. It returns what ``hedged(ask, after)`` returns, and how many were sent.
    """

    def run(delays: list[float], after: float) -> tuple[Any, int]:
        timers: list[threading.Timer] = []

        def ask() -> "Future[Any]":
            future: Future[Any] = Future()
            number = len(timers) + 1
            timers.append(threading.Timer(delays[len(timers)], future.set_result, [f"answer {number}"]))
            timers[-1].start()
            return future

        try:
            return hedged(ask, after), len(timers)
        finally:
            for timer in timers:
                timer.cancel()

    return run
