"""Unary gRPC calls over HTTP/2, and protobuf by hand: all of it Python, since a stranger writes what is read here.

The frames are read by `h2` (of the hyper project), which is imported when the first call is made. Its limits on
headers and ours on frames and bytes bound what a server can make of us.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from grader.examine.checks import StudentError
from grader.examine.service.http1 import MOST_BODY, Malformed
from grader.examine.shown import short
from grader.text import plain

MOST_FRAMES = 10_000  # in the answer to one call
MOST_FIELDS = 1 << 16
_PREFIX = struct.Struct(">BI")
_HEAD, _MOST_FRAME, _GOAWAY = 9, 1 << 14, 7  # of a frame, see RFC 9113

OK, UNKNOWN = 0, 2
_FIXED = {1: 8, 5: 4}  # bytes by wire type


@dataclass(frozen=True)
class GrpcAnswer:
    """One answer of a gRPC server: its status (0 is OK), its message's bytes, and what it says of an error."""

    status: int
    body: bytes
    details: str
    seconds: float = 0.0
    """From the intended send to the last byte of the answer."""

    def fields(self) -> list[tuple[int, int | bytes]]:
        """Return the fields of the message, see `read_fields`; raises StudentError where the call was not OK."""
        if self.status != OK:
            raise StudentError(
                f"the gRPC call ended with status {self.status}: {self.details or 'no details'}"
            )
        return read_fields(self.body)


def read_fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Return the fields of a protobuf message in their order: (number, value).

    A value is an int (varint), or bytes (text, a message in the message, fixed 4 or 8 bytes). Raises StudentError
    where the bytes are no protobuf message.
    """
    found: list[tuple[int, int | bytes]] = []
    at = 0
    try:
        while at < len(data):
            if len(found) >= MOST_FIELDS:
                raise ValueError
            key, at = _varint(data, at)
            number, kind = key >> 3, key & 7
            value: int | bytes
            if kind == 0:
                value, at = _varint(data, at)
            elif kind in (1, 2, 5):
                size, at = _varint(data, at) if kind == 2 else (_FIXED[kind], at)
                if size > len(data) - at:
                    raise ValueError
                value, at = data[at : at + size], at + size
            else:
                raise ValueError
            if not number:
                raise ValueError
            found.append((number, value))
    except ValueError:
        raise StudentError(f"the answer of {len(data):,} bytes is no protobuf message") from None
    return found


def write_fields(*fields: tuple[int, int | bytes | str]) -> bytes:
    """Return a protobuf message of these (number, value): an int as a varint, text and bytes with their length."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_to_varint(number << 3), _to_varint(value)]
        else:
            data = value.encode() if isinstance(value, str) else value
            parts += [_to_varint(number << 3 | 2), _to_varint(len(data)), data]
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError


def _to_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


class GrpcExchange:
    """One unary call on a connection of its own, see gRPC's `PROTOCOL-HTTP2.md`."""

    linger, patience = False, 0.0

    def __init__(self, method: str, request: bytes, metadata: Sequence[tuple[str, str]], port: str):
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self.label, self.port = f"gRPC {plain(method, 60)}", port
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._connection.local_settings.enable_push = 0
        self._connection.initiate_connection()
        # A window as large as what we would read: no server waits for us.
        self._connection.increment_flow_control_window(MOST_BODY)
        head = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", f"/{method.lstrip('/')}"),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *metadata,
        ]
        self._connection.send_headers(1, head)
        self._waiting = _PREFIX.pack(0, len(request)) + request
        self._sent, self._sent_all = 0, False
        self._body, self._headers = bytearray(), {}
        self._rest, self._bytes, self._frames = bytearray(), 0, 0
        self.begun = self.done = False

    def outgoing(self) -> bytes:
        """Return what is to be sent now: as much of the message as the server's window allows, and our own frames."""
        connection = self._connection
        while not (self._sent_all or self.done):
            room = min(connection.local_flow_control_window(1), connection.max_outbound_frame_size)
            if room <= 0:
                break
            piece = self._waiting[self._sent : self._sent + room]
            self._sent += len(piece)
            self._sent_all = self._sent == len(self._waiting)
            connection.send_data(1, piece, end_stream=self._sent_all)
        return connection.data_to_send()

    def feed(self, data: bytes) -> None:
        """Take bytes; raises Malformed where they are no HTTP/2, no gRPC, or too many."""
        from h2 import events

        self.begun = True
        self._bytes += len(data)
        if self._bytes > 2 * MOST_BODY:
            raise Malformed(f"sent more than {2 * MOST_BODY >> 20} MiB")
        try:
            found = self._connection.receive_data(self._frames_of(data))
        except Malformed:
            raise
        except Exception as error:  # whatever a reader says of a stranger's bytes
            raise Malformed(
                f"sent what is no HTTP/2: {type(error).__name__}: {plain(str(error), 100)}"
            ) from None
        for event in found:
            if getattr(event, "stream_id", None) != 1:
                continue
            if isinstance(event, (events.ResponseReceived, events.TrailersReceived)):
                self._take_headers(event.headers or [])
            elif isinstance(event, events.DataReceived):
                self._body += event.data or b""
                if len(self._body) > MOST_BODY:
                    raise Malformed(f"sent more than {MOST_BODY >> 20} MiB of message")
                self._connection.acknowledge_received_data(event.flow_controlled_length or 0, 1)
            elif isinstance(event, events.StreamEnded):
                self.done = True
                self._check()
                return
            elif isinstance(event, events.StreamReset):
                raise Malformed(f"broke the call off (RST_STREAM, error {int(event.error_code or 0)})")

    def end(self) -> None:
        """The server closed the connection; raises Malformed where the call is not over."""
        if not self.done:
            raise Malformed(f"closed the connection; {self.where()}")

    def answer(self, seconds: float) -> GrpcAnswer:
        """Return the answer, which must be done."""
        status = int(self._headers["grpc-status"])
        details = plain(unquote(self._headers.get("grpc-message", "")), 300)
        return GrpcAnswer(status, bytes(self._body[_PREFIX.size :]), details, seconds)

    def where(self) -> str:
        """Return how far the answer has come."""
        if not self.begun:
            return "nothing came"
        return (
            f"{len(self._body):,} bytes of a message came, and no status"
            if self._headers
            else "no answer came"
        )

    def _frames_of(self, data: bytes) -> bytes:
        """Return the whole frames that are there by now, counted, without those that only say goodbye.

        A server that drains says GOAWAY and then answers what it has begun; to `h2` all is over at that word.
        """
        self._rest += data
        kept = bytearray()
        while len(self._rest) >= _HEAD:
            size = int.from_bytes(self._rest[:3], "big")
            if size > _MOST_FRAME:
                raise Malformed(f"sent what is no HTTP/2: {short(bytes(self._rest[:40]))}")
            if len(self._rest) < _HEAD + size:
                break
            self._frames += 1
            if self._frames > MOST_FRAMES:
                raise Malformed(f"sent more than {MOST_FRAMES:,} frames")
            frame = bytes(self._rest[: _HEAD + size])
            del self._rest[: _HEAD + size]
            if frame[3] != _GOAWAY:
                kept += frame
                continue
            last, code = frame[_HEAD : _HEAD + 4], frame[_HEAD + 4 : _HEAD + 8]
            if any(code) or not any(last) or size < 8:
                raise Malformed(f"ended the connection (GOAWAY, error {int.from_bytes(code, 'big')})")
        return bytes(kept)

    def _take_headers(self, headers: Sequence[tuple[Any, Any]]) -> None:
        for name, value in headers:
            self._headers.setdefault(str(name), str(value))

    def _check(self) -> None:
        """Raise Malformed unless the answer is one message, or none with the status of an error."""
        if self._headers.get(":status") != "200":
            raise Malformed(
                f"answered with HTTP status {plain(self._headers.get(':status', ''), 20)}, not 200"
            )
        status = self._headers.get("grpc-status", "")
        if not (status.isascii() and status.isdigit() and len(status) <= 3):
            raise Malformed("sent no grpc-status")
        if not self._body and int(status) != OK:
            return
        if len(self._body) < _PREFIX.size:
            raise Malformed("sent the status OK without a message")
        flag, size = _PREFIX.unpack(self._body[: _PREFIX.size])
        if flag or size != len(self._body) - _PREFIX.size:
            raise Malformed("sent what is not one message without compression")
