"""A load generator: an open loop, a closed loop, and latencies that can be trusted.

An open loop (:func:`open_loop`) sends at times that were fixed before the run, whether or not earlier requests have
been answered, as users do who do not know of each other. Its latencies count from the moment at which a request was
*meant* to be sent. A closed loop (:func:`closed_loop`) has a fixed number of clients, each of which waits for its
answer before it sends again. While the server stalls it sends nothing, and so it measures nothing: *coordinated
omission* (G. Tene, "How NOT to measure latency", 2013; Schroeder, Wierman, Harchol-Balter, NSDI 2006).

    send = Http("http://127.0.0.1:8000/predict", body=b"...")
    result = open_loop(send, rate=200, seconds=5)
    print(result.quantile(0.99), result.errors, result.late(0.99))

The loops run in a thread with an event loop of its own, so that they work in a notebook too. The server belongs in
another process. ``python -m effdl.load URL --rate 200 --seconds 5`` does the same from a shell.
"""

import argparse
import asyncio
import contextlib
import gc
import math
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from effdl.load_http import Answer, Http, HttpError, read_answer
from effdl.load_result import Histogram, LoadResult

__all__ = [
    "Answer",
    "Histogram",
    "Http",
    "HttpError",
    "LoadResult",
    "background",
    "closed_loop",
    "open_loop",
    "read_answer",
    "schedule",
    "together",
]

Send = Callable[[int], Awaitable[str | None]]
"""Sends one request, whose number it is given, and waits for its answer: nothing if all is well, or what is wrong
in a word, such as "429". An exception counts as wrong, under the name of its type."""

OPEN, CLOSED = "open", "closed"
UNANSWERED = "no answer in time"
"""What is wrong with a request that was not answered before its deadline."""


def schedule(rate: float, seconds: float, arrivals: str = "poisson", seed: int = 0) -> np.ndarray:
    """The times at which an open loop sends: ``round(rate * seconds)`` of them, seconds from the start, float64.

    "poisson": gaps are independent and exponential, as between users who do not know of each other (the last send
    then comes near the end, not at it). "even": all gaps are equal. Raises ValueError for other words or no request.
    """
    count = round(rate * seconds)
    if rate <= 0 or count < 1:
        raise ValueError(f"{rate} requests a second for {seconds} s are no request")
    if arrivals == "even":
        return np.arange(count) / rate
    if arrivals == "poisson":
        return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))
    raise ValueError(f'arrivals are "poisson" or "even", not {arrivals!r}')


class _Log:
    """What happened to each request, as it happens."""

    def __init__(self, start: float):
        self.start = start
        self.intended: list[float] = []
        self.sent: list[float] = []
        self.done: list[float] = []
        self.wrong: list[str] = []

    def open(self, intended: float | None = None) -> int:
        """Note that a request is meant to be sent; its number. Without ``intended``: now."""
        now = time.perf_counter() - self.start
        self.intended.append(now if intended is None else intended)
        self.sent.append(now)
        self.done.append(math.nan)
        self.wrong.append("")
        return len(self.sent) - 1

    async def carry(self, send: Send, number: int, timeout: float) -> None:
        """Send one request that is open, and note how it went."""
        wrong: str | None
        self.sent[number] = time.perf_counter() - self.start
        try:
            async with asyncio.timeout(timeout) as deadline:
                wrong = await send(number)
        except TimeoutError as error:
            wrong = UNANSWERED if deadline.expired() else type(error).__name__
        except Exception as error:
            wrong = type(error).__name__
        self.done[number] = time.perf_counter() - self.start
        self.wrong[number] = wrong or ""

    def result(self, loop: str, seconds: float) -> LoadResult:
        intended, sent, done = (
            np.array(times, np.float64) for times in (self.intended, self.sent, self.done)
        )
        return LoadResult(loop, seconds, intended, sent, done, np.array(self.wrong, object), self.start)


def open_loop(
    send: Any,
    rate: float | None = None,
    seconds: float | None = None,
    *,
    arrivals: str = "poisson",
    seed: int = 0,
    times: Sequence[float] | np.ndarray | None = None,
    timeout: float = 30.0,
    stop: threading.Event | None = None,
) -> LoadResult:
    """Send at times fixed before the run, and wait for the answers of all.

    ``send`` is a :data:`Send`, or an asynchronous context manager that gives one (such as :class:`Http`) and is
    entered in the loop's thread. The times are those of :func:`schedule`, or ``times`` themselves, seconds from
    the start, ascending. A request that has no answer ``timeout`` seconds after its actual send is given up. No
    more is sent once ``stop`` is set. Raises ValueError for times that are none.
    """
    if times is None:
        if rate is None or seconds is None:
            raise ValueError("open_loop() needs rate= and seconds=, or times=")
        times = schedule(rate, seconds, arrivals, seed)
    planned = np.asarray(times, np.float64)
    if not planned.size or planned[0] < 0 or (np.diff(planned) < 0).any():
        raise ValueError("the times to send at are seconds from the start, at least one, ascending")
    lasting = float(seconds if seconds is not None else planned[-1])

    async def run(send: Send) -> LoadResult:
        log = _Log(time.perf_counter() + 0.01)
        waiting: set[asyncio.Task[None]] = set()
        async for at in _clock(planned.tolist(), log.start):
            if stop is not None and stop.is_set():
                break
            task = asyncio.ensure_future(log.carry(send, log.open(at), timeout))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        while waiting:
            await asyncio.wait(waiting)
        return log.result(OPEN, lasting)

    return _in_a_thread(run, send)


def closed_loop(
    send: Any,
    clients: int,
    seconds: float,
    *,
    rate: float | None = None,
    timeout: float = 30.0,
    stop: threading.Event | None = None,
) -> LoadResult:
    """So many clients, each of which sends again when its answer has come, for so many seconds.

    With ``rate`` (requests a second of all clients together) each client waits for its next turn, every
    ``clients / rate`` seconds; one whose answer came after its turn sends at once and leaves out what it missed,
    as most load testers do. ``send``, ``timeout`` and ``stop`` are those of :func:`open_loop`. Raises ValueError
    without clients or time.
    """
    if clients < 1 or seconds <= 0 or (rate is not None and rate <= 0):
        raise ValueError(
            f"closed_loop() needs clients, seconds and a rate above zero, not {clients}, {seconds}, {rate}"
        )
    pause = clients / rate if rate else 0.0

    async def run(send: Send) -> LoadResult:
        log = _Log(time.perf_counter())

        async def client(place: int) -> None:
            turn = place / clients * pause
            while True:
                wait = log.start + turn - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
                if time.perf_counter() - log.start >= seconds or (stop is not None and stop.is_set()):
                    return
                await log.carry(send, log.open(), timeout)
                turn = max(turn + pause, time.perf_counter() - log.start)

        await asyncio.gather(*(client(place) for place in range(clients)))
        log.intended = log.sent
        return log.result(CLOSED, seconds)

    return _in_a_thread(run, send)


def background(loop: Callable[..., LoadResult], *args: Any, **kwargs: Any) -> "Future[LoadResult]":
    """Start ``open_loop`` or ``closed_loop`` and return at once; ``.result()`` waits and gives the LoadResult.

    What the caller does meanwhile shares the interpreter with the generator: keep it light.
    """
    future: Future[LoadResult] = Future()

    def work() -> None:
        try:
            future.set_result(loop(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="load in the background", daemon=True).start()
    return future


def together(
    plans: Mapping[str, tuple[Any, Sequence[float] | np.ndarray]], timeout: float = 30.0
) -> dict[str, LoadResult]:
    """Several open loops side by side, under the same clock: ``{name: (send, times)}`` gives a result for each name.

    What disturbs the machine disturbs all of them. A sender is given the number that its request has in its own
    plan. Raises ValueError as :func:`open_loop` does.
    """
    names = list(plans)
    planned = [np.asarray(times, np.float64) for _, times in plans.values()]
    owner = np.repeat(np.arange(len(names)), [len(times) for times in planned])
    own = np.concatenate([np.arange(len(times)) for times in planned])
    times = np.concatenate(planned)
    order = np.argsort(times, kind="stable")
    turns = [(int(owner[place]), int(own[place])) for place in order]

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Send]:
        async with contextlib.AsyncExitStack() as stack:
            sends = [
                await stack.enter_async_context(send) if hasattr(send, "__aenter__") else send
                for send, _ in plans.values()
            ]

            async def send(number: int) -> str | None:
                place, turn = turns[number]
                return await sends[place](turn)

            yield send

    whole = open_loop(opened(), times=times[order], timeout=timeout)
    results = {}
    for place, name in enumerate(names):
        mask = owner[order] == place
        parts = {field: getattr(whole, field)[mask] for field in ("intended", "sent", "done", "wrong")}
        results[name] = replace(whole, seconds=float(planned[place][-1]), **parts)
    return results


async def _clock(planned: Sequence[float], start: float) -> AsyncIterator[float]:
    """Yield each planned time when it has come, from a thread that sleeps to a tenth of a millisecond.

    An event loop's own timers are a millisecond late: epoll counts in milliseconds and rounds up.
    """
    loop = asyncio.get_running_loop()
    due: deque[float] = deque()
    bell = asyncio.Event()
    over = threading.Event()

    def tick() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed under us
            for at in planned:
                wait = start + at - time.perf_counter()
                if wait > 0:
                    time.sleep(wait)
                if over.is_set():
                    return
                due.append(at)
                loop.call_soon_threadsafe(bell.set)

    ticker = threading.Thread(target=tick, name="clock of the load", daemon=True)
    ticker.start()
    try:
        for _ in range(len(planned)):
            while not due:
                bell.clear()
                await bell.wait()
            yield due.popleft()
    finally:
        over.set()


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection stops all requests for a while, and would be taken for the server's tail."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _in_a_thread(run: Callable[[Send], Coroutine[Any, Any, LoadResult]], send: Any) -> LoadResult:
    """Run a loop in a thread with an event loop of its own; whoever interrupts the caller ends it."""
    found: list[LoadResult] = []
    broken: list[BaseException] = []
    loop = asyncio.new_event_loop()

    async def work() -> None:
        if hasattr(send, "__aenter__"):
            async with send as opened:
                found.append(await run(opened))
        else:
            found.append(await run(send))

    task = loop.create_task(work())

    def main() -> None:
        try:
            loop.run_until_complete(task)
        except BaseException as error:
            broken.append(error)
        finally:
            with contextlib.suppress(Exception):
                others = asyncio.all_tasks(loop)
                for other in others:
                    other.cancel()
                if others:
                    loop.run_until_complete(asyncio.gather(*others, return_exceptions=True))
                loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=main, name="load", daemon=True)
    with _no_garbage_collection():
        thread.start()
        try:
            thread.join()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
            thread.join(5)
            raise
    if broken:
        raise broken[0]
    return found[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m effdl.load URL --rate 200 --seconds 5``; returns the exit status, 1 if a request failed."""
    parser = argparse.ArgumentParser(prog="python -m effdl.load", description="Put a service under load.")
    parser.add_argument("url")
    parser.add_argument(
        "--rate", type=float, help="open loop: requests a second (or the pace of a closed loop)"
    )
    parser.add_argument("--clients", type=int, help="closed loop: how many clients")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--even", action="store_true", help="equal gaps instead of those of a Poisson process"
    )
    parser.add_argument("--body", help="a file to send with each request; makes it a POST")
    parser.add_argument("--type", default="application/json", help="its content type")
    chosen = parser.parse_args(arguments)
    if not chosen.rate and not chosen.clients:
        parser.error("give --rate for an open loop, or --clients for a closed one")
    body = None
    if chosen.body:
        with open(chosen.body, "rb") as file:
            body = file.read()
    send = Http(chosen.url, body, headers={"Content-Type": chosen.type} if body is not None else None)
    if chosen.clients:
        result = closed_loop(send, chosen.clients, chosen.seconds, rate=chosen.rate)
    else:
        result = open_loop(send, chosen.rate, chosen.seconds, arrivals="even" if chosen.even else "poisson")
    print(result)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
