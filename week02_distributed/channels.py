"""What it costs to hand an array to another process, by size and by channel."""

import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import numpy as np

from week02_distributed.hogwild import SharedArray
from week02_distributed.processes import CONTEXT, Group

SOCKET = "socket, ready buffer"
CHANNELS = (
    "queue",
    "pipe, pickled",
    "pipe, bytes",
    SOCKET,
    "shared memory, copied in",
    "shared memory, in place",
)
LINE_ENDS = 2**18  # bytes: `fit_small` looks at messages up to this size


def measure(sizes: Sequence[int], rounds: int = 9) -> dict[str, np.ndarray]:
    """Seconds from "I have an array" to "the other process can read it, and says so".

    The answer is one byte through a pipe. Each round sends one message of every size through every channel, so that
    all meet the same noise; the result is the median over the rounds.

    Args:
        sizes: bytes of the arrays.

    Returns:
        {channel: seconds, shape (len(sizes),)}.
    """
    shared = SharedArray.copy_of(np.zeros(max(sizes), np.uint8))
    queue = CONTEXT.Queue()
    ours, theirs = CONTEXT.Pipe()
    near, far = socket.socketpair()
    samples = np.zeros((len(CHANNELS), len(sizes), rounds))
    with Group() as group:
        group.start(_receiver, theirs, queue, far, shared)
        theirs.close()
        far.close()
        ours.recv()
        send = _senders(ours, queue, near, shared.array)
        for round_ in range(-1, rounds):  # the first one only warms up
            # The queue's helper thread frees a message when the next one comes, and that takes long after a large
            # one. So the first size is sent twice, and the second time counts.
            for s, size in [(0, sizes[0]), *enumerate(sizes)]:
                message = np.full(size, round_ % 251, np.uint8)
                for c, channel in enumerate(CHANNELS):
                    samples[c, s, round_] = _seconds(ours, channel, send[channel], message)
        ours.send(("stop", 0))
        group.results()
    queue.close()
    near.close()
    return dict(zip(CHANNELS, np.median(samples, axis=2), strict=True))


def _seconds(pipe: Connection, channel: str, send: Callable, message: np.ndarray) -> float:
    pipe.send((channel, len(message)))
    pipe.recv()  # the receiver stands ready, so that its way to the channel is not counted
    start = time.perf_counter()
    send(message)
    answer = pipe.recv_bytes()
    seconds = time.perf_counter() - start
    if channel != "shared memory, in place" and answer != bytes(message[-1:]):
        raise RuntimeError(f"{channel}: the receiver read {answer!r} at the end, sent was {message[-1]}")
    return seconds


def _senders(pipe: Connection, queue, near: socket.socket, shared: np.ndarray) -> dict[str, Callable]:
    def copy_in(message):
        shared[: len(message)] = message
        pipe.send_bytes(b".")

    return {
        "queue": queue.put,
        "pipe, pickled": pipe.send,
        "pipe, bytes": lambda message: pipe.send_bytes(memoryview(message)),
        SOCKET: near.sendall,
        "shared memory, copied in": copy_in,
        "shared memory, in place": lambda message: pipe.send_bytes(b"."),
    }


def _receiver(pipe: Connection, queue, far: socket.socket, shared: SharedArray) -> None:
    """Take each message, read its last byte, and answer with it."""
    buffer, view = bytearray(len(shared.array)), shared.array
    pipe.send("ready")
    while True:
        channel, size = pipe.recv()
        if channel == "stop":
            return
        pipe.send("ready")
        if channel == "queue":
            last = queue.get()[-1]
        elif channel == "pipe, pickled":
            last = pipe.recv()[-1]
        elif channel == "pipe, bytes":
            pipe.recv_bytes_into(buffer)
            last = buffer[size - 1]
        elif channel == SOCKET:
            _fill(far, memoryview(buffer)[:size])
            last = buffer[size - 1]
        else:
            pipe.recv_bytes()
            last = view[size - 1]
        pipe.send_bytes(bytes([last]))


def _fill(far: socket.socket, buffer: memoryview) -> None:
    """Read from a socket until the buffer is full: the kernel copies each piece straight to its place."""
    while buffer:
        buffer = buffer[far.recv_into(buffer) :]


def fit(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Latency (seconds) and bandwidth (bytes per second) of the alpha-beta model, latency + size / bandwidth.

    Least squares of the *relative* error, so that small messages count as much as large ones. Both are positive.
    """
    sizes, seconds = np.asarray(sizes, float), np.asarray(seconds, float)
    columns = np.column_stack([1 / seconds, sizes / seconds])
    (latency, per_byte), *_ = np.linalg.lstsq(columns, np.ones(len(sizes)), rcond=None)
    smallest = seconds.min()
    return max(latency, 1e-3 * smallest), 1 / max(per_byte, 1e-3 * smallest / sizes.max())


def fit_small(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float, float]:
    """`fit` of the sizes up to `LINE_ENDS`, and how many times as long the largest message took as that line says."""
    small = np.asarray(sizes) <= LINE_ENDS
    latency, bandwidth = fit(np.asarray(sizes)[small], np.asarray(seconds)[small])
    return latency, bandwidth, float(seconds[-1] / (latency + sizes[-1] / bandwidth))
