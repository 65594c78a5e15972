"""A strict and bounded reader of HTTP/1.1 answers (RFC 9112): what a stranger's server sends, byte by byte.

A browser forgives; this one does not. Two lengths, a length that is none, more bytes than were announced and bytes
after the end are mistakes of the server, and each has a sentence. Nothing here waits or opens anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grader.examine.checks import StudentError
from grader.examine.shown import short
from grader.text import plain

MOST_HEAD = 32 << 10  # bytes of the status line and headers, and of trailers
MOST_HEADERS = 100
MOST_BODY = 16 << 20
MOST_CHUNKS = 1 << 16
MOST_LINE = 4 << 10  # of a chunk's size with its extensions
MOST_INTERIM = 8  # answers 1xx before the one that counts
MOST_VALUES = 1 << 20  # commas and brackets of a JSON text: each may be an object of 100 bytes to Python
MOST_SAMPLES = 10_000

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n\x00]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\x00]*)")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{.*\})?)[ \t]+(\S+)(?:[ \t]+-?\d+)?")


class Malformed(Exception):
    """What came is not what the protocol allows; says why, as the end of a sentence about the server."""


@dataclass(frozen=True)
class Answer:
    """One answer of a server, as it came over the socket."""

    status: int
    headers: dict[str, str]
    """By names in small letters; several of one name are joined by commas."""
    body: bytes
    seconds: float = 0.0
    """From the intended send to the last byte of the answer."""

    def json(self) -> Any:
        """Return the body as JSON; raises StudentError where it is none, with NaN and Infinity among it."""
        try:
            if sum(map(self.body.count, (b",", b"[", b"{"))) > MOST_VALUES:
                raise ValueError("too many values")
            return json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise StudentError("the body is no JSON", short(self.body), "JSON") from None

    def metrics(self) -> dict[str, float]:
        """Return the body as metrics in Prometheus' text format: a number for each sample, by its name and labels.

        Raises StudentError where a line is none, or a sample stands twice.
        """
        found: dict[str, float] = {}
        for line in self.body.decode("utf-8", "replace").split("\n"):
            if not line.strip() or line.startswith("#"):
                continue
            match = _SAMPLE.fullmatch(line.strip()) if len(line) <= MOST_LINE else None
            if match is None or len(found) >= MOST_SAMPLES or match[1] in found:
                raise StudentError("the metrics hold a line that is no sample, or one twice", short(line), "")
            try:
                found[match[1]] = float(match[2].replace("+Inf", "inf").replace("Nan", "nan"))
            except ValueError:
                raise StudentError("a sample's value is no number", short(line), "name value") from None
        return found


def _no_constant(name: str) -> float:
    raise ValueError(name)


class Reader:
    """Reads one answer out of the bytes that arrive, in whatever pieces they come."""

    def __init__(self, method: str = "GET", most_body: int = MOST_BODY):
        self._without_body = method == "HEAD"
        self._most = most_body
        self._rest, self._seen = bytearray(), 0
        self._step = self._head
        self._status, self._headers = 0, {}
        self._body, self._left, self._chunks, self._interim = bytearray(), 0, 0, 0
        self.done = False

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._status or self._rest or self._interim)

    def feed(self, data: bytes) -> None:
        """Take bytes; raises Malformed where they are no answer, or go on behind it."""
        self._rest += data
        while not self.done and self._step():
            pass
        if self.done and self._rest:
            raise Malformed(
                f"sent {len(self._rest):,} bytes after the end of its answer: {short(bytes(self._rest[:40]))}"
            )

    def end(self) -> None:
        """The connection was closed; raises Malformed where the answer is not whole."""
        if self.done:
            return
        if self._step == self._to_the_end:
            self.done = True
        elif not self.begun:
            raise Malformed("closed the connection without an answer")
        elif self._step == self._head:
            raise Malformed("closed the connection in the middle of the headers")
        elif self._step == self._counted:
            whole = len(self._body) + self._left
            raise Malformed(
                f"announced {whole:,} bytes (Content-Length) and closed the connection after {len(self._body):,}"
            )
        else:
            raise Malformed("closed the connection before the last chunk, which has the size 0")

    def answer(self, seconds: float) -> Answer:
        """Return the answer, which must be done."""
        return Answer(self._status, self._headers, bytes(self._body), seconds)

    def where(self) -> str:
        """Return how far the answer has come, as the end of a sentence."""
        if not self.begun:
            return "nothing came"
        if self._step == self._head:
            return "its headers did not end"
        if self._step == self._counted:
            return f"{len(self._body):,} of {len(self._body) + self._left:,} announced bytes came"
        return f"its body did not end; {len(self._body):,} bytes came"

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n", max(0, self._seen - 3))
        self._seen = len(self._rest)
        if (end if end >= 0 else self._seen) > MOST_HEAD:
            raise Malformed(f"sent more than {MOST_HEAD >> 10} KiB of headers")
        first = self._rest.find(b"\r\n")
        if first >= 0 or self._seen > MOST_LINE:
            line = bytes(self._rest[: max(first, 0)])
            if not _STATUS.fullmatch(line):
                begin = plain(short(bytes(self._rest[:60])), 120)
                raise Malformed(f"sent what is no status line of HTTP/1.1: {begin}")
        if end < 0:
            return False
        first_line, *lines = bytes(self._rest[:end]).split(b"\r\n")
        del self._rest[: end + 4]
        self._seen = 0
        match = _STATUS.fullmatch(first_line)
        assert match is not None  # looked at above
        status, headers = int(match[1]), _headers(lines)
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                raise Malformed(f"sent more than {MOST_INTERIM} answers 1xx")
            return True
        self._status, self._headers = status, headers
        self._step = self._framing()
        return not self.done

    def _framing(self) -> Any:
        """Return how the body is read; see RFC 9112, section 6.3."""
        length, coding = self._headers.get("content-length"), self._headers.get("transfer-encoding")
        if length is not None and coding is not None:
            raise Malformed("sent both Content-Length and Transfer-Encoding: its answer has two ends")
        if length is not None:
            if not re.fullmatch(r"[0-9]{1,15}", length):
                raise Malformed(f"sent a Content-Length that is no number: {plain(length, 60)}")
            self._left = int(length)
        if self._without_body or self._status in (101, 204, 304):
            self.done = True
            return self._counted
        if coding is not None:
            if coding.lower() != "chunked":
                raise Malformed(f"sent a Transfer-Encoding that nobody asked for: {plain(coding, 60)}")
            return self._chunk
        if length is None:
            return self._to_the_end
        if self._left > self._most:
            raise Malformed(f"announced {self._left:,} bytes; at most {self._most >> 20} MiB are read")
        self.done = not self._left
        return self._counted

    def _counted(self) -> bool:
        take = min(len(self._rest), self._left)
        self._body += self._rest[:take]
        del self._rest[:take]
        self._left -= take
        self.done = not self._left
        return False

    def _to_the_end(self) -> bool:
        self._take_all(self._rest)
        self._rest.clear()
        return False

    def _take_all(self, data: bytes | bytearray) -> None:
        if len(self._body) + len(data) > self._most:
            raise Malformed(f"sent more than {self._most >> 20} MiB of body")
        self._body += data

    def _line(self, most: int = MOST_LINE) -> bytes | None:
        end = self._rest.find(b"\r\n", max(0, self._seen - 1), most + 2)
        self._seen = len(self._rest)
        if end < 0:
            if len(self._rest) > most:
                raise Malformed("sent a chunk whose size is no line")
            return None
        line = bytes(self._rest[:end])
        del self._rest[: end + 2]
        self._seen = 0
        return line

    def _chunk(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self._chunks += 1
        size = line.partition(b";")[0].strip(b" \t")
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,12}", size):
            raise Malformed(f"sent a chunk whose size is no number: {short(line[:40])}")
        if self._chunks > MOST_CHUNKS:
            raise Malformed(f"sent its answer in more than {MOST_CHUNKS:,} chunks")
        self._left = int(size, 16)
        if len(self._body) + self._left > self._most:
            raise Malformed(f"sent more than {self._most >> 20} MiB of body")
        self._step = self._in_chunk if self._left else self._trailers
        return True

    def _in_chunk(self) -> bool:
        take = min(len(self._rest), self._left)
        self._body += self._rest[:take]
        del self._rest[:take]
        self._left -= take
        if self._left or len(self._rest) < 2:
            return False
        if self._rest[:2] != b"\r\n":
            raise Malformed("sent a chunk that is longer than its size says")
        del self._rest[:2]
        self._step = self._chunk
        return True

    def _trailers(self) -> bool:
        line = self._line(MOST_HEAD)
        if line is None:
            return False
        self._interim += 1
        if self._interim > MOST_HEADERS:
            raise Malformed(f"sent more than {MOST_HEADERS} trailers")
        self.done = not line
        return True


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MOST_HEADERS:
        raise Malformed(f"sent more than {MOST_HEADERS} headers")
    found: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise Malformed(f"sent a line that is no header: {short(line[:60])}")
        name, value = match[1].decode("ascii").lower(), match[2].strip(b" \t").decode("latin-1")
        if name in found and name == "content-length":
            raise Malformed("sent Content-Length twice")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def request(
    method: str, path: str, body: bytes, headers: Mapping[str, str | None], host: str = "localhost"
) -> bytes:
    """Return the bytes of a request; raises ValueError where a header would break a line.

    Names and values of `headers` take the place of what would be sent by itself; None as a value leaves it out.
    """
    own: dict[str, str | None] = {"Host": host, "Connection": "close"}
    if body or method in ("POST", "PUT", "PATCH"):
        own["Content-Length"] = str(len(body))
    given = {name.lower() for name in headers}
    whole = {name: value for name, value in own.items() if name.lower() not in given} | dict(headers)
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in whole.items() if value is not None]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of a request holds the end of a line")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class HttpExchange:
    """One request on a connection of its own, which the server is asked to close."""

    linger = True

    def __init__(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str | None],
        port: str,
        most_body: int,
        patience: float = 0.0,
    ):
        """Say the request but for the last byte of its head first, where there is `patience` (seconds)."""
        self.label, self.port, self.patience = f"{method} {plain(path, 60)}", port, patience
        self._request = request(method, path, body, headers)
        self._first = self._request.index(b"\r\n\r\n") + 3 if patience else len(self._request)
        self._reader = Reader(method, most_body)

    def outgoing(self) -> bytes:
        """Return what is to be sent now."""
        data, self._request = self._request[: self._first], self._request[self._first :]
        self._first = len(self._request)
        return data

    def feed(self, data: bytes) -> None:
        """Take what came; see `Reader.feed`."""
        self._reader.feed(data)

    def end(self) -> None:
        """The server closed the connection; see `Reader.end`."""
        self._reader.end()

    @property
    def begun(self) -> bool:
        return self._reader.begun

    @property
    def done(self) -> bool:
        return self._reader.done

    def answer(self, seconds: float) -> Answer:
        """Return the answer, which must be done."""
        return self._reader.answer(seconds)

    def where(self) -> str:
        """Return how far the answer has come."""
        return self._reader.where()
