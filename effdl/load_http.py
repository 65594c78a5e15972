"""HTTP/1.1 as a load generator needs it: few calls between the clock and the socket, and nothing tried twice."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


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
