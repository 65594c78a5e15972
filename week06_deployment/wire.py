"""HTTP and gRPC on the wire: the same message by both, through a relay that keeps every byte."""

import base64
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from http import client as http_client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO = """
syntax = "proto3";
package course;
message Image { uint32 height = 1; uint32 width = 2; repeated float pixels = 3; }
message Label { string name = 1; float share = 2; }
service Classifier { rpc Predict (Image) returns (Label); }
"""
"""What the client and the server of a gRPC service share."""

_FIELDS = {
    "Image": [("height", 1, "UINT32", False), ("width", 2, "UINT32", False), ("pixels", 3, "FLOAT", True)],
    "Label": [("name", 1, "STRING", False), ("share", 2, "FLOAT", False)],
}


def _messages() -> dict[str, Any]:
    """The classes that `protoc` would write for PROTO, made without it."""
    file = descriptor_pb2.FileDescriptorProto(name="course_lecture.proto", package="course", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, type_, repeated in fields:
            label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
            message.field.add(name=field, number=number, type=getattr(kind, f"TYPE_{type_}"), label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"course.{name}"))
        for name in _FIELDS
    }


Image, Label = _messages().values()


def image_message(pixels: np.ndarray) -> Any:
    """An image of shape [height, width], float32, as a message."""
    return Image(height=pixels.shape[0], width=pixels.shape[1], pixels=pixels.ravel())


def bodies(pixels: np.ndarray) -> dict[str, bytes]:
    """The same image of shape [height, width], float32, in the usual ways."""
    shortest = "[" + ",".join(str(value) for value in pixels.ravel()) + "]"  # digits that suffice for float32
    return {
        "JSON, json.dumps(x.tolist())": json.dumps(pixels.tolist()).encode(),
        "JSON, digits of float32": shortest.encode(),
        "JSON, base64": json.dumps({"pixels": base64.b64encode(pixels.tobytes()).decode()}).encode(),
        "raw bytes": pixels.tobytes(),
        "protocol buffers": image_message(pixels).SerializeToString(),
    }


# --- the relay


class Relay:
    """What went through: the bytes from the client (``up``) and from the server (``down``)."""

    def __init__(self, port: int):
        self.port = port
        self.up, self.down = bytearray(), bytearray()


@contextmanager
def relay(upstream: int) -> Iterator[Relay]:
    """Pass on all connections to a port of this machine, and keep what goes through, while the block runs."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", upstream)) as server:
                back = threading.Thread(target=pump, args=(server, self.request, kept.down), daemon=True)
                back.start()
                pump(self.request, server, kept.up)
                back.join(10)

    def pump(source: socket.socket, target: socket.socket, into: bytearray) -> None:
        try:
            while data := source.recv(65536):
                into.extend(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one side has gone
            return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        kept = Relay(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield kept
        finally:
            server.shutdown()


# --- the same service twice


@contextmanager
def http_service() -> Iterator[int]:
    """A plain HTTP server that answers every POST with a label, while the block runs; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"name": "cat", "share": 0.75}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@contextmanager
def grpc_service() -> Iterator[int]:
    """The same over gRPC: ``course.Classifier/Predict``."""

    def predict(request: Any, context: grpc.ServicerContext) -> Any:
        return Label(name="cat", share=0.75)

    method = grpc.unary_unary_rpc_method_handler(predict, Image.FromString, Label.SerializeToString)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("course.Classifier", {"Predict": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def http_calls(port: int, body: bytes, calls: int) -> None:
    """Post the same body again and again, over one connection."""
    connection = http_client.HTTPConnection("127.0.0.1", port)
    for _ in range(calls):
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the HTTP service answered {answer.status}")
    connection.close()


def grpc_calls(port: int, message: Any, calls: int) -> None:
    """Send the same message again and again, over one channel."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        predict = channel.unary_unary(
            "/course.Classifier/Predict",
            request_serializer=Image.SerializeToString,
            response_deserializer=Label.FromString,
        )
        for _ in range(calls):
            predict(message, timeout=60)


def sent_by(
    service: Callable[[], Any], calls: Callable[[int, int], None], count: int
) -> tuple[int, int, bytes]:
    """Bytes that a client sends to a service: in its first call, and in each later one; and the bytes of them all.

    ``calls(port, n)`` makes n calls over one connection. It runs twice, with one call and with ``count``.
    """
    totals, kept = [], b""
    with service() as port:
        for n in (1, count):
            with relay(port) as through:
                calls(through.port, n)
                kept = bytes(through.up)
            totals.append(len(kept))
    return totals[0], round((totals[1] - totals[0]) / (count - 1)), kept


# --- reading protocol buffers by hand


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place after it: seven bits to a byte, lowest first; the top bit says "more"."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


FRAMES = {0: "DATA", 1: "HEADERS", 3: "RST_STREAM", 4: "SETTINGS", 6: "PING", 7: "GOAWAY", 8: "WINDOW_UPDATE"}


def frames(up: bytes) -> list[tuple[str, int, int]]:
    """The frames of HTTP/2 that a client sent: kind, number of the stream, bytes besides the frame's own nine.

    ``up`` begins with the client's greeting of 24 bytes (RFC 9113). Raises ValueError if it does not.
    """
    if not up.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        raise ValueError("a client of HTTP/2 begins with its greeting, and this one does not")
    found, place = [], 24
    while place + 9 <= len(up):
        size = int.from_bytes(up[place : place + 3], "big")
        stream = int.from_bytes(up[place + 5 : place + 9], "big") & 0x7FFFFFFF
        found.append((FRAMES.get(up[place + 3], str(up[place + 3])), stream, size))
        place += 9 + size
    return found
