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
import ssl
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

if TYPE_CHECKING:
    from effdl.notebook import Table

Send = Callable[[int], Awaitable[str | None]]
"""Sends one request, whose number it is given, and waits for its answer: nothing if all is well, or what is wrong
in a word, such as "429". An exception counts as wrong, under the name of its type."""

OPEN, CLOSED = "open", "closed"
UNANSWERED = "no answer in time"
"""What is wrong with a request that was not answered before its deadline."""


# --- quantiles ---------------------------------------------------------------------------------------------------


class Histogram:
    """Times in buckets whose width grows with the value, in the layout of HdrHistogram with three digits.

    Values are whole microseconds. 2,048 buckets are 1 us wide; then come 1,024 of 2 us, 1,024 of 4 us, and so on: a
    value is known to a thousandth, from a microsecond to hours, in a few thousand counters. Histograms can be
    added, which quantiles cannot.
    """

    HALF = 1024  # buckets in each power of two: one more than a thousandth needs

    def __init__(self, seconds: Sequence[float] | np.ndarray = ()):
        self.counts = np.zeros(0, np.int64)
        self.add(seconds)

    def add(self, seconds: Sequence[float] | np.ndarray) -> None:
        """Count these times, in seconds. Raises ValueError for a negative one or one that is no number."""
        values = np.asarray(seconds, np.float64)
        if values.size and not (np.isfinite(values).all() and values.min() >= 0):
            raise ValueError("a histogram counts times from zero on, in seconds; one of these is not")
        if values.size:
            self._merge(np.bincount(self._bucket(np.rint(values * 1e6).astype(np.int64))))

    def _merge(self, counts: np.ndarray) -> None:
        longer, shorter = sorted((self.counts, counts), key=len, reverse=True)
        self.counts = longer.copy()
        self.counts[: len(shorter)] += shorter

    def _bucket(self, us: np.ndarray) -> np.ndarray:
        """The number of the bucket of each whole number of microseconds."""
        shift = np.maximum(np.frexp(np.maximum(us, 1).astype(np.float64))[1] - 11, 0)
        return shift * self.HALF + (us >> shift)

    def _highest(self, bucket: np.ndarray | int) -> np.ndarray:
        """The largest number of microseconds that falls into a bucket."""
        bucket = np.asarray(bucket)
        shift = np.maximum(bucket // self.HALF - 1, 0)
        return ((bucket - shift * self.HALF + 1) << shift) - 1

    @property
    def count(self) -> int:
        """How many times it holds."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Seconds that this share of the times do not exceed, to a thousandth; NaN if it holds none."""
        if not 0 <= share <= 1:
            raise ValueError(
                f"a quantile's share lies between 0 and 1; 0.99 is the 99th percentile, not {share}"
            )
        if not self.count:
            return math.nan
        # The small slack keeps 0.9 x 10 from becoming the tenth value by rounding.
        rank = max(math.ceil(share * self.count - 1e-9 * self.count), 1)
        return float(self._highest(int(np.searchsorted(np.cumsum(self.counts), rank)))) / 1e6

    def __add__(self, other: "Histogram") -> "Histogram":
        both = Histogram()
        both._merge(self.counts)
        both._merge(other.counts)
        return both

    def corrected(self, interval: float) -> "Histogram":
        """With the requests that a closed loop left out, as HdrHistogram guesses them.

        A client that meant to send every ``interval`` seconds and waited longer for an answer would have sent more
        requests meanwhile; each would have waited ``interval`` less than the one before it. This adds them.
        """
        if interval <= 0:
            raise ValueError(f"the interval between two sends is longer than zero, not {interval} s")
        added = Histogram()
        added._merge(self.counts)
        step = round(interval * 1e6)
        for bucket in np.flatnonzero(self.counts):
            longest = int(self._highest(int(bucket)))
            missing = np.arange(longest - step, step - 1, -step)
            if missing.size:
                added._merge(np.bincount(self._bucket(missing)) * self.counts[bucket])
        return added


# --- what a run gives --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadResult:
    """All requests of a run, in the order in which they were meant to be sent.

    ``intended``, ``sent`` and ``done`` are seconds since the run began, float64, one for each request. ``wrong``
    holds "" for each request that was answered well, or what is wrong in a word. In a closed loop there is no
    intention: ``intended`` is ``sent``. ``began`` is the run's begin by ``time.perf_counter``, which on Linux is one
    clock for all processes.
    """

    loop: str
    seconds: float
    intended: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    wrong: np.ndarray
    began: float = 0.0

    @property
    def count(self) -> int:
        """Number of requests."""
        return len(self.sent)

    @property
    def well(self) -> np.ndarray:
        """Which requests were answered well; bool, one for each request."""
        return self.wrong == ""

    @property
    def errors(self) -> dict[str, int]:
        """How many requests went wrong in each way, the most frequent first."""
        return dict(Counter(self.wrong[~self.well].tolist()).most_common())

    @property
    def failed(self) -> int:
        """How many requests went wrong."""
        return int((~self.well).sum())

    @property
    def latencies(self) -> np.ndarray:
        """Seconds from the intended send to the answer, of the requests that were answered well."""
        return (self.done - self.intended)[self.well]

    @property
    def from_send(self) -> np.ndarray:
        """Seconds from the actual send to the answer, of the requests that were answered well."""
        return (self.done - self.sent)[self.well]

    def histogram(self, since: str = "intended") -> Histogram:
        """The latencies in buckets; ``since`` is "intended" or "sent"."""
        if since not in ("intended", "sent"):
            raise ValueError(
                f'a latency counts since the "intended" or the actual ("sent") send, not {since!r}'
            )
        return Histogram(self.latencies if since == "intended" else self.from_send)

    def quantile(self, share: float, since: str = "intended") -> float:
        """Latency in seconds that this share of the requests answered well do not exceed; NaN without any."""
        return self.histogram(since).quantile(share)

    def late(self, share: float = 0.99) -> float:
        """Quantile of the seconds by which this generator sent late.

        The latencies from the intended send hold them too. Where they are no small part of those, the generator
        was the bottleneck, and it is not the server that was measured.
        """
        return Histogram(np.maximum(self.sent - self.intended, 0)).quantile(share)

    @property
    def rate(self) -> float:
        """Requests a second that were meant to be sent."""
        return self.count / self.seconds if self.seconds > 0 else 0.0

    @property
    def throughput(self) -> float:
        """Good answers a second, from the start to the last answer or to the planned end, whichever is later."""
        lasted = max(self.seconds, float(self.done.max(initial=0.0)))
        return float(self.well.sum()) / lasted if lasted else 0.0

    def goodput(self, within: float) -> float:
        """Good answers a second that came within so many seconds of their intended send."""
        return float((self.latencies <= within).sum()) / self.seconds if self.seconds > 0 else 0.0

    def between(self, start: float, end: float = math.inf) -> "LoadResult":
        """Only the requests meant to be sent in these seconds of the run: without a warm-up, say."""
        mask = (self.intended >= start) & (self.intended < end)
        parts = {name: getattr(self, name)[mask] for name in ("intended", "sent", "done", "wrong")}
        for name in ("intended", "sent", "done"):
            parts[name] = parts[name] - start
        return replace(
            self, seconds=max(min(end, self.seconds) - start, 0.0), began=self.began + start, **parts
        )

    def table(self, title: str = "") -> "Table":
        """Counts and quantiles, from the intended and from the actual send."""
        from effdl.notebook import Table

        rows = [
            [
                f"p{100 * share:g}",
                *(f"{1e3 * self.quantile(share, since):,.2f} ms" for since in ("intended", "sent")),
            ]
            for share in (0.5, 0.9, 0.95, 0.99, 0.999, 1)
        ]
        return Table(["", "from the intended send", "from the actual send"], rows, title or self._words())

    def _words(self) -> str:
        wrong = "".join(f", {number} x {word}" for word, number in self.errors.items())
        return (
            f"{self.loop} loop: {self.count:,} requests in {self.seconds:.3g} s, {self.failed:,} failed{wrong}; "
            f"{self.throughput:,.1f} good answers a second; sent late by {1e3 * self.late():.2f} ms (p99)"
        )

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())


# --- the loops ---------------------------------------------------------------------------------------------------


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


# --- HTTP --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: status, headers (names in small letters), body, and the bytes it was on the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    wire: int


class HttpError(Exception):
    """What came from the server is no HTTP answer, or it ended before the answer did."""


class _Connection(asyncio.Protocol):
    """One connection of HTTP/1.1 that carries one request at a time."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.waiting: asyncio.Future[Answer] | None = None
        self.transport: asyncio.Transport | None = None
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, request: bytes, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Answer]":
        assert self.transport is not None
        self.waiting = loop.create_future()
        self.transport.write(request)
        return self.waiting

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._read(ended=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._read(ended=True)
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(exc or HttpError("the connection ended before the answer did"))

    def _read(self, ended: bool) -> None:
        if self.waiting is None or self.waiting.done():
            if self.buffer:  # more than was asked for: nobody can say what belongs to what
                self.close()
            return
        try:
            answer = read_answer(self.buffer, ended)
        except HttpError as error:
            self.waiting.set_exception(error)
            self.close()
            return
        if answer is not None:
            del self.buffer[: answer.wire]
            if answer.headers.get("connection", "").lower() == "close" or self.buffer:
                self.close()
            self.waiting.set_result(answer)

    def close(self) -> None:
        self.usable = False
        if self.transport is not None:
            self.transport.close()


def read_answer(buffer: bytes | bytearray, ended: bool = False) -> Answer | None:
    """The answer at the beginning of ``buffer``, or None while it is not whole; ``ended``: no more will come.

    The length is that of ``Content-Length`` or of the chunks; without either, all until the end. Raises HttpError
    for what is no HTTP.
    """
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        if len(buffer) > 65536:
            raise HttpError("64 KiB came without an end of the headers")
        return None
    first, *lines = bytes(buffer[:head]).decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
        raise HttpError(f"an answer begins with HTTP/1.1 and a status, not with {first[:40]!r}")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    start, status = head + 4, int(words[1])
    if "chunked" in headers.get("transfer-encoding", "").lower():
        whole = _chunks(buffer, start)
        return None if whole is None else Answer(status, headers, *whole)
    if status in (204, 304):
        return Answer(status, headers, b"", start)
    if "content-length" in headers:
        if not headers["content-length"].isdecimal():
            raise HttpError(f"a content length of {headers['content-length'][:20]!r} is no length")
        end = start + int(headers["content-length"])
        return Answer(status, headers, bytes(buffer[start:end]), end) if len(buffer) >= end else None
    return Answer(status, headers, bytes(buffer[start:]), len(buffer)) if ended else None


def _chunks(buffer: bytes | bytearray, place: int) -> tuple[bytes, int] | None:
    """The body that stands in chunks from ``place`` on, and where it ends; None while it is not whole."""
    parts = []
    while True:
        end = buffer.find(b"\r\n", place)
        if end < 0:
            return None
        try:
            size = int(bytes(buffer[place:end]).split(b";")[0], 16)
        except ValueError:
            raise HttpError("a chunk begins with its size in hexadecimal digits") from None
        if size == 0:
            last = buffer.find(b"\r\n\r\n", end)  # after perhaps some trailers
            return None if last < 0 else (b"".join(parts), last + 4)
        place = end + 2 + size + 2
        if len(buffer) < place:
            return None
        parts.append(bytes(buffer[end + 2 : end + 2 + size]))


class Http:
    """Sends one request of HTTP/1.1 again and again, each on a connection that nobody else uses meanwhile.

    As few calls as possible lie between the clock and the socket: some 60 us of processor time for a request. A
    connection is used again when its answer has come (``reuse=False``: a new one for each request, and
    ``Connection: close``). Nothing is tried twice, since users see what went wrong the first time.

    ``body`` is bytes, or a function from the number of a request to its bytes. ``read`` sees each answer and its
    number, and says what is wrong in a word or nothing; without it every status but 2xx is wrong, under its number.
    Raises ValueError for an address that is not http:// or https://.
    """

    def __init__(
        self,
        url: str,
        body: bytes | Callable[[int], bytes] | None = None,
        *,
        method: str = "",
        headers: Mapping[str, str] | None = None,
        reuse: bool = True,
        read: Callable[[Answer, int], str | None] | None = None,
    ):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"Http() needs an address such as http://127.0.0.1:8000/predict, not {url!r}")
        self.host, self.tls = (
            parts.hostname,
            ssl.create_default_context() if parts.scheme == "https" else None,
        )
        self.port = parts.port or (443 if self.tls else 80)
        self.body, self.reuse, self.read = body, reuse, read
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = {"Host": parts.netloc, "Accept": "*/*", **({} if reuse else {"Connection": "close"})}
        if body is not None:
            lines["Content-Type"] = "application/json"
        lines.update(headers or {})
        words = method or ("GET" if body is None else "POST")
        self.head = f"{words} {path} HTTP/1.1\r\n" + "".join(
            f"{key}: {value}\r\n" for key, value in lines.items()
        )
        self._constant = None if callable(body) else self._request(body)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    def _request(self, body: bytes | None) -> bytes:
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        return f"{self.head}{length}\r\n".encode("latin-1") + (body or b"")

    def request(self, number: int = 0) -> bytes:
        """The bytes of one request as they go to the socket."""
        if self._constant is not None:
            return self._constant
        assert callable(self.body)
        return self._request(self.body(number))

    async def __aenter__(self) -> "Http":
        self._idle, self._all = [], set()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._all:
            connection.close()
        self._idle, self._all = [], set()
        await asyncio.sleep(0)  # transports close in the loop's next turn

    async def answer(self, number: int = 0) -> Answer:
        """Send a request and wait for its answer. Raises HttpError or OSError if there is none."""
        loop = asyncio.get_running_loop()
        connection = None
        while self._idle and connection is None:
            connection = self._idle.pop()
            if not connection.usable:
                self._all.discard(connection)
                connection = None
        if connection is None:
            _, connection = await loop.create_connection(_Connection, self.host, self.port, ssl=self.tls)
            self._all.add(connection)
        try:
            answer = await connection.ask(self.request(number), loop)
        except BaseException:  # given up in the middle: the answer may still come, and is for nobody
            connection.close()
            self._all.discard(connection)
            raise
        if self.reuse and connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
            self._all.discard(connection)
        return answer

    async def __call__(self, number: int = 0) -> str | None:
        answer = await self.answer(number)
        if self.read is not None:
            return self.read(answer, number)
        return None if 200 <= answer.status < 300 else str(answer.status)


# --- from a shell ------------------------------------------------------------------------------------------------


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
