"""A plain HTTP server whose models only take time: for queues, batches, overload, stalls.

``python -m week06_deployment.small_server '{"name": {"kind": "queue", "seconds": 0.01}}'`` serves each name at
``/name``, and prints its port on its first line. It ends when its standard input does, so that it cannot outlive
who started it; :func:`week06_deployment.serving.serving` starts it.

The model sleeps. That is what a process does whose model runs on another device; and on a laptop it leaves the
cores to the load generator. Queues, sockets, batches and clocks are real.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from week06_deployment.batching import Adaptive, Batcher, Fixed

REASONS = {200: "OK", 404: "Not Found", 429: "Too Many Requests"}
Handled = tuple[int, dict[str, Any]]


class Queue:
    """Workers that serve one request each for some seconds, and a queue before them.

    ``room`` is how many may wait, None for any number: who comes to a full queue is refused at once, with status 429.
    """

    def __init__(self, seconds: float, workers: int = 1, room: int | None = None):
        self.seconds, self.workers, self.room = seconds, workers, room
        self.free = asyncio.Semaphore(workers)
        self.inside = 0

    async def handle(self) -> Handled:
        """Wait for a worker, be served."""
        if self.room is not None and self.inside >= self.workers + self.room:
            return 429, {}
        self.inside += 1
        arrived = time.perf_counter()
        async with self.free:
            began = time.perf_counter()
            await asyncio.sleep(self.seconds)
            ended = time.perf_counter()
        self.inside -= 1
        return 200, {"waited": began - arrived, "served": ended - began}


class Batch:
    """A model that takes ``start + each * n`` seconds for n requests, behind a batcher.

    ``wait`` is the fixed wait in seconds, or "adaptive"; ``most`` is the largest batch; ``room`` is how many may be
    inside, waiting or in the model, None for any number.
    """

    def __init__(
        self, start: float, each: float, most: int, wait: float | str = 0.0, room: int | None = None
    ):
        self.start, self.each, self.room = start, each, room
        policy = Adaptive() if wait == "adaptive" else Fixed(float(wait))
        self.batcher = Batcher(self._model, most, policy)
        self.task = asyncio.ensure_future(self.batcher.serve())
        self.inside = 0

    async def _model(self, items: list[Any]) -> list[int]:
        await asyncio.sleep(self.start + self.each * len(items))
        return [len(items)] * len(items)

    async def handle(self) -> Handled:
        """Go through the model with whoever waits at the same time."""
        if self.room is not None and self.inside >= self.room:
            return 429, {}
        self.inside += 1
        size = await self.batcher.ask(None)
        self.inside -= 1
        return 200, {"batch": size}


class Stall:
    """Answers at once, but its whole process stops for ``seconds``, ``at`` these moments after the first request.

    As a process does when it loads a new model in its event loop, swaps, or has used up its share of the processor.
    """

    def __init__(self, seconds: float, at: list[float]):
        self.seconds, self.at, self.inside = seconds, at, 0
        self.started = False

    async def handle(self) -> Handled:
        """Answer."""
        if not self.started:
            self.started = True
            for moment in self.at:
                asyncio.get_running_loop().call_later(moment, time.sleep, self.seconds)
        return 200, {}


class Sometimes:
    """Any number at once; a request takes ``fast`` seconds, and with the chance ``share`` it takes ``slow``."""

    def __init__(self, fast: float, slow: float, share: float, seed: int = 0):
        self.fast, self.slow, self.share = fast, slow, share
        self.random, self.inside = random.Random(seed), 0

    async def handle(self) -> Handled:
        """Answer, sometimes late."""
        late = self.random.random() < self.share
        self.inside += 1
        await asyncio.sleep(self.slow if late else self.fast)
        self.inside -= 1
        return 200, {"late": late}


KINDS: dict[str, Callable[..., Any]] = {
    "queue": Queue,
    "batch": Batch,
    "stall": Stall,
    "sometimes": Sometimes,
}


class Connection(asyncio.Protocol):
    """Reads requests of HTTP/1.1 from one connection and writes the answers, one after the other."""

    def __init__(self, answer: Callable[[str], Awaitable[Handled]]):
        self.answer = answer
        self.buffer = b""
        self.busy: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """A piece of a request, a whole one, or several."""
        self.buffer += data
        self._next()

    def _next(self) -> None:
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if self.busy or not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)
        }
        length = int(headers.get("content-length", 0))
        if len(rest) >= length:
            self.buffer = rest[length:]
            close = headers.get("connection", "").lower() == "close"
            self.busy = asyncio.ensure_future(self._respond(first.split(" ")[1], close))

    async def _respond(self, path: str, close: bool) -> None:
        status, content = await self.answer(path)
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self.busy = None
        if close:
            self.transport.close()
        else:
            self._next()


class Gauge:
    """How many requests are inside, looked at every few milliseconds by a task of its own."""

    def __init__(self, service: Any, every: float = 0.004):
        self.service, self.every = service, every
        self.seen: list[tuple[float, int]] = []

    async def watch(self) -> None:
        """Look, for ever."""
        while True:
            self.seen.append((time.perf_counter(), self.service.inside))
            await asyncio.sleep(self.every)


async def main(plan: dict[str, dict[str, Any]]) -> None:
    """Serve the services of the plan until standard input ends."""
    services, gauges, tasks = {}, {}, []
    for name, options in plan.items():
        kind, watched = options.pop("kind"), options.pop("watched", False)
        services[name] = KINDS[kind](**options)
        if watched:
            gauges[name] = Gauge(services[name])
            tasks.append(asyncio.ensure_future(gauges[name].watch()))

    async def answer(path: str) -> Handled:
        name, _, what = path.strip("/").partition("/")
        if name not in services:
            return 404, {}
        if what == "gauge":
            return 200, {"seen": gauges[name].seen}
        if what == "batches":
            return 200, {"sizes": services[name].batcher.sizes}
        return await services[name].handle()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answer), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
