"""What is lost when a server restarts, seen from outside: two causes alone, then whole set-ups under load.

No client in this file tries anything twice: a user sees the first answer, or none.
"""

import contextlib
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import numpy as np

from effdl.load import Answer, Http, HttpError, LoadResult, background, open_loop, read_answer
from effdl.processes import end
from week06_deployment import setups
from week06_deployment.service import pictures

PICTURE = pictures.encode(np.zeros((8, 8), np.float32))
HEADERS = {"Content-Type": "image/png"}


class Connection:
    """One TCP connection to a server, on which the caller decides what is sent, and when."""

    def __init__(self, address: str, timeout: float = 60.0):
        parts = urlsplit(address)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=timeout)

    def send(self, data: bytes) -> None:
        """Send bytes; what the other end thinks of them is seen when reading."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def answer(self) -> Answer | None:
        """The next answer, or None if the connection ended, or was reset, before a whole one came."""
        buffer = bytearray()
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                return None
            buffer += data
            try:
                found = read_answer(buffer, ended=not data)
            except HttpError:
                return None
            if found is not None or not data:
                return found

    def ask(
        self, path: str = "/predict", body: bytes | None = PICTURE, kind: str = "image/png"
    ) -> Answer | None:
        """Send one request and wait for its answer."""
        self.send(request(path, body, kind))
        return self.answer()

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def request(path: str = "/predict", body: bytes | None = PICTURE, kind: str = "image/png") -> bytes:
    """The bytes of a request; a POST if there is a body."""
    if body is None:
        return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def once(address: str, *arguments, **options) -> Answer | None:
    """One request on a connection of its own; None too if there was nobody to connect to."""
    try:
        connection = Connection(address)
    except OSError:
        return None
    try:
        return connection.ask(*arguments, **options)
    finally:
        connection.close()


# --- two causes, alone ------------------------------------------------------------------------------------------


def in_the_queue(connections: int = 20, held: bool = False) -> int:
    """How many of so many requests are answered whose connections wait in the queue of a socket that is closed.

    The kernel completes the connections and takes the bytes; no program has accepted them yet. `held`: somebody else
    (a master, another worker) has the same listening socket, as after a fork, and accepts later.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=connections)
    holder = listener.dup() if held else None
    address = "http://{}:{}".format(*listener.getsockname())
    clients = [Connection(address) for _ in range(connections)]
    for client in clients:
        client.send(request("/readyz", None))
    listener.close()  # what a stopping server does
    if holder is not None:
        for _ in clients:
            accepted, _ = holder.accept()
            accepted.recv(65536)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            accepted.close()
        holder.close()
    answered = sum(client.answer() is not None for client in clients)
    for client in clients:
        client.close()
    return answered


def on_open_connections(server: setups.Running, fresh: int = 5, used: int = 5, pause: float = 0.5) -> int:
    """How many requests are answered that are sent on open connections just after SIGTERM.

    `fresh` connections have not carried a request yet, `used` ones carried one, and were kept.
    """
    connections = [Connection(server.address) for _ in range(fresh + used)]
    for connection in connections[fresh:]:
        assert connection.ask("/healthz", None) is not None
    time.sleep(0.2)  # until the fresh ones have been accepted as well
    server.send(signal.SIGTERM)
    time.sleep(pause)
    answers = [connection.ask("/healthz", None) for connection in connections]
    for connection in connections:
        connection.close()
    return sum(answer is not None and answer.status == 200 for answer in answers)


# --- whole set-ups ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped_and_started() -> Iterator[tuple[setups.Running, setups.Restart]]:
    """One uvicorn process; a restart stops it, and starts another one on the same port when it has gone."""
    command = setups.module("uvicorn", "--factory", setups.APP, "--no-access-log", "--port")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(setups.running([*command, "0"]))

        def restart() -> None:
            end(server.process)
            port = str(urlsplit(server.address).port)
            stack.enter_context(setups.running([*command, port]))

        yield server, restart


SETUPS: dict[str, Callable] = {
    "stop, then start": stopped_and_started,
    "uvicorn, SIGHUP": setups.uvicorn,
    "gunicorn, SIGHUP": setups.gunicorn,
    # The client of this file keeps connections that it does not use; two seconds are enough to see the drain wait.
    "ours, SIGHUP": lambda: setups.ours(2, "--patience", 2),
}


AT = 0.7
"""Seconds after the start of the load at which a set-up is restarted."""


def under_load(setup: str, rate: float = 80, seconds: float = 60, tail: float = 0.5) -> LoadResult:
    """The result of an open loop on a set-up of SETUPS that is restarted once, `AT` seconds after the start.

    The load goes on until `tail` seconds after the restart is over, and for `seconds` at most.
    """
    stop = threading.Event()
    with SETUPS[setup]() as (server, restart):
        send = Http(f"{server.address}/predict", PICTURE, headers=HEADERS)
        load = background(open_loop, send, rate, seconds, timeout=30, stop=stop)
        time.sleep(AT)
        restart()
        time.sleep(tail)
        stop.set()
        return load.result()


# --- what a proxy may try again ---------------------------------------------------------------------------------


@contextlib.contextmanager
def reads_and_dies() -> Iterator[str]:
    """A server that takes each request whole, and ends the connection without an answer: one that crashes at work."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            if not select.select([listener], [], [], 0.05)[0]:
                continue
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                connection.recv(65536)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        over.set()
        thread.join(5)
        listener.close()


def through(address: str, method: str, requests: int = 10) -> int:
    """How many of so many requests get status 200: GET of /healthz, or POST of a picture."""
    arguments = ("/healthz", None) if method == "GET" else ("/predict", PICTURE)
    answers = [once(address, *arguments) for _ in range(requests)]
    return sum(answer is not None and answer.status == 200 for answer in answers)
