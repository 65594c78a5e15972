"""The service: HTTP in front of a model. `serve` is what the examiner starts, and ends by SIGTERM."""

import asyncio
import contextlib
import json
import signal
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from batcher import Batcher, Closed, Full

SIDE = 8
"""Rows of an image, and pixels of a row."""
MOST_BYTES = 65_536
"""Of the body of a request."""
BUCKETS = (1, 2, 4, 8, 16)
"""Upper bounds of the histogram of batch sizes; one more, of all batches, is called +Inf."""


def serve(
    model: Callable[[list[list[list[int]]]], list[list[str]]],
    port: int,
    max_batch: int,
    max_wait: float,
    max_queue: int,
) -> None:
    """Answer HTTP on 127.0.0.1:`port` until SIGTERM, then finish what was accepted, and return.

    `model(images)` blocks until a list of names has come for each of the images, in their order. It is not safe to
    call it a second time while a call runs. `max_batch`, `max_wait` (seconds) and `max_queue` are the batcher's.
    Runs in the main thread of its process.
    """
    ### BEGIN SOLUTION
    asyncio.run(_Service(model, max_batch, max_wait, max_queue).run(port))
    ### END SOLUTION


### BEGIN SOLUTION
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
METHODS = {"/predict": "POST", "/metrics": "GET", "/healthz": "GET", "/readyz": "GET"}


class Refused(Exception):
    """A request that gets no prediction: the status, and the reason in words."""

    def __init__(self, status: int, why: str, **headers: str):
        super().__init__(why)
        self.status, self.headers = status, headers


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    length: int
    body: bytes = b""


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def parse(head: bytes) -> Request:
    """Return the request that these bytes open; raises Refused."""
    try:
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, path, version = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = {name.lower(): value.strip() for name, value in pairs}
    except ValueError:
        raise Refused(400, "this is no HTTP") from None
    length = headers.get("content-length", "0")
    if version not in ("HTTP/1.0", "HTTP/1.1") or not (length.isascii() and length.isdigit()):
        raise Refused(400, "this is no HTTP that this service speaks")
    if "transfer-encoding" in headers:
        raise Refused(400, "a body comes with its length here")
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return Request(method, path.partition("?")[0], headers, int(length))


def image_of(body: bytes) -> list[list[int]]:
    """Return the image in the body of a request; raises Refused."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(asked, dict) or "image" not in asked:
        raise Refused(422, "the body is no object with an image")
    image = asked["image"]
    if not isinstance(image, list) or len(image) != SIDE:
        raise Refused(422, f"an image is a list of {SIDE} rows")
    for row in image:
        if not isinstance(row, list) or len(row) != SIDE:
            raise Refused(422, f"a row is a list of {SIDE} pixels")
        if not all(type(pixel) is int and 0 <= pixel <= 255 for pixel in row):
            raise Refused(422, "a pixel is an integer from 0 to 255")
    return image


class _Service:
    def __init__(self, model: Callable, max_batch: int, max_wait: float, max_queue: int):
        self._model = model
        self._batcher = Batcher(self._ask, max_batch, max_wait, max_queue)
        self._answered = 0
        self._batches = [0] * (len(BUCKETS) + 1)
        self._images = 0
        self._ready = self._draining = False
        self._connections: set[asyncio.Task] = set()
        self._busy: set[asyncio.Task] = set()

    async def run(self, port: int) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, backlog=1024)
        warm_up = asyncio.create_task(self._warm_up())
        await stop.wait()
        self._draining = True
        server.close()
        await warm_up
        await self._batcher.close()
        if self._busy:  # whose answers are being written
            await asyncio.wait(self._busy, timeout=1)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _warm_up(self) -> None:
        await asyncio.to_thread(self._model, [[[0] * SIDE] * SIDE])
        self._ready = True

    async def _ask(self, images: list) -> list[list[str]]:
        names = await asyncio.to_thread(self._model, images)
        self._batches[bisect_left(BUCKETS, len(images))] += 1
        self._images += len(images)
        return names

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(task, reader, writer):
                    pass
        except asyncio.CancelledError:
            pass  # the service ends, or the client has gone
        finally:
            self._connections.discard(task)
            self._busy.discard(task)
            writer.close()

    async def _one(
        self, task: asyncio.Task, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether another may come on this connection."""
        try:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                raise Refused(431, "so many headers") from None
            request = parse(head)
            if request.length > MOST_BYTES:
                raise Refused(413, f"a body has at most {MOST_BYTES} bytes")
            request.body = await reader.readexactly(request.length)
            self._busy.add(task)
            answer = await self._answer(request)
            stays = request.headers.get("connection", "").lower() != "close" and not self._draining
        except Refused as refusal:
            # What follows on this connection may be the rest of what was not read.
            answer, stays = self._refusal(refusal), False
        headers = {
            "Content-Type": "application/json",
            **answer.headers,
            "Content-Length": str(len(answer.body)),
        }
        if not stays:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body)
        await writer.drain()
        self._busy.discard(task)
        return stays

    def _refusal(self, refusal: Refused) -> Answer:
        return Answer(refusal.status, json.dumps({"detail": str(refusal)}).encode(), refusal.headers)

    async def _answer(self, request: Request) -> Answer:
        try:
            if request.path not in METHODS:
                raise Refused(404, "there is nothing here")
            if request.method != METHODS[request.path]:
                raise Refused(405, "not like this", Allow=METHODS[request.path])
            if request.path == "/healthz":
                return Answer(200, b"{}")
            if request.path == "/metrics":
                return Answer(200, self._metrics().encode(), {"Content-Type": "text/plain; version=0.0.4"})
            if request.path == "/readyz":
                if not self._ready or self._draining:
                    raise Refused(503, "not now")
                return Answer(200, b"{}")
            return await self._predict(request.body)
        except Refused as refusal:
            return self._refusal(refusal)

    async def _predict(self, body: bytes) -> Answer:
        image = image_of(body)
        if not self._ready:
            raise Refused(503, "the model is not ready")
        try:
            names = await self._batcher.predict(image)
        except Full:
            raise Refused(429, "too many requests wait", **{"Retry-After": "1"}) from None
        except Closed:
            raise Refused(503, "the service ends") from None
        except Exception:
            raise Refused(500, "the model failed") from None
        self._answered += 1
        return Answer(200, json.dumps({"objects": names}).encode())

    def _metrics(self) -> str:
        count, size = "app_http_inference_count_total", "app_model_batch_size"
        lines = [
            f"# HELP {count} Predictions that were answered.",
            f"# TYPE {count} counter",
            f"{count} {self._answered}",
            f"# HELP {size} Images in a batch that the model answered.",
            f"# TYPE {size} histogram",
        ]
        total = 0
        for bound, batches in zip((*BUCKETS, "+Inf"), self._batches, strict=True):
            total += batches
            lines.append(f'{size}_bucket{{le="{bound}"}} {total}')
        lines += [f"{size}_sum {self._images}", f"{size}_count {total}"]
        return "\n".join(lines) + "\n"


### END SOLUTION
