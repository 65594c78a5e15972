"""The gRPC twin of the service: one method, the same batcher behind it. `inference.proto` says what it speaks."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from batcher import Batcher, Closed, Full

SERVICE = "inference.InstanceDetector"
PIXELS = 64
"""Bytes of an image: 8 rows of 8 pixels, row by row."""


def serve_grpc(
    model: Callable[[list[list[list[int]]]], list[list[str]]],
    port: int,
    max_batch: int,
    max_wait: float,
    max_queue: int,
) -> None:
    """Answer gRPC on 127.0.0.1:`port`, without encryption, until SIGTERM; finish what was accepted, and return.

    The arguments are those of `service.serve`; `model` gets each image as a list of rows here too.
    """
    ### BEGIN SOLUTION
    asyncio.run(_serve(model, port, max_batch, max_wait, max_queue))
    ### END SOLUTION


### BEGIN SOLUTION
async def _serve(model: Callable, port: int, max_batch: int, max_wait: float, max_queue: int) -> None:
    import grpc

    batcher = Batcher(lambda images: asyncio.to_thread(model, images), max_batch, max_wait, max_queue)

    async def predict(image: bytes, context: Any) -> list[str]:
        if len(image) != PIXELS:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"an image has {PIXELS} bytes")
        try:
            return await batcher.predict([list(image[start : start + 8]) for start in range(0, PIXELS, 8)])
        except Full:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests wait")
        except Closed:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the service ends")
        except Exception:
            await context.abort(grpc.StatusCode.INTERNAL, "the model failed")

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    method = grpc.unary_unary_rpc_method_handler(
        predict, request_deserializer=image_of, response_serializer=message_of
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Predict": method}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stop.wait()
    await asyncio.gather(server.stop(grace=30), batcher.close())


def image_of(message: bytes) -> bytes:
    """Return field 1 of an InstanceDetectorInput; raises ValueError for what is none, IndexError for a piece of one.

    A message is a row of fields. Each begins with a number, 8 * field + kind: 0 is a number, 2 a length and as many
    bytes, 1 and 5 are eight and four bytes. Fields that nobody knows are skipped.
    """
    image, place = b"", 0
    while place < len(message):
        tag, place = _number(message, place)
        start = place
        if tag & 7 == 0:
            _, place = _number(message, place)
        elif tag & 7 == 2:
            length, start = _number(message, place)
            place = start + length
        elif tag & 7 in (1, 5):
            place += 8 if tag & 7 == 1 else 4
        else:
            raise ValueError("no message")
        if place > len(message):
            raise ValueError("the message ends within a field")
        if tag == 8 * 1 + 2:
            image = message[start:place]
    return image


def message_of(names: list[str]) -> bytes:
    """Return an InstanceDetectorOutput: field 1 once for each name."""
    fields = bytearray()
    for name in names:
        text = name.encode()
        fields += bytes([8 * 1 + 2]) + _bytes(len(text)) + text
    return bytes(fields)


def _number(message: bytes, place: int) -> tuple[int, int]:
    """Return the number at `place`, seven bits a byte from the low end, and where it ends."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _bytes(number: int) -> bytes:
    """Return the bytes of a number."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


### END SOLUTION
