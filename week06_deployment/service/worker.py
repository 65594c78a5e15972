"""One worker process: serves a listening socket that it inherits, and drains on SIGTERM.

    python -m week06_deployment.service.worker --socket 3

The master starts it. It writes "ready" to its standard output when it answers, and leaves at once when its standard
input ends: that is how it learns that the master was killed.
"""

import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from week06_deployment.service.app import create_app
from week06_deployment.service.batcher import Batcher, Stub
from week06_deployment.service.metrics import Metrics

KEEP_ALIVE = 75
"""Seconds that we keep an idle connection: longer than nginx (60), aiohttp (15) and httpx (5) do."""


class Gate:
    """What a drain may ask of its server."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket, app: FastAPI):
        self._server, self._listener, self._state = server, listener, app.state.shared

    def say_goodbye(self) -> None:
        """From now on /readyz answers 503, and every answer carries `Connection: close`."""
        self._state.draining = True

    def stop_accepting(self) -> None:
        """Take no more connections. The socket stays open, here and in the master: its queue is not lost.

        To close it here would end those that asyncio has accepted but not yet given to the protocol (Python 3.11).
        """
        asyncio.get_running_loop().remove_reader(self._listener)

    def connections(self) -> int:
        """Connections that are open, in use or idle."""
        return len(self._server.server_state.connections)

    def requests(self) -> int:
        """Requests that are being answered."""
        return self._state.open


async def drain(gate: Gate, linger: float, patience: float) -> None:
    """Leave so that nobody notices: say so, go on for `linger` seconds, close the door, wait for those inside.

    `linger` is how long a load balancer may take to see that /readyz has changed; without one it can be 0.
    `patience` is how long, in seconds, an idle connection may wait for its next request, which is the one that can be
    told to be the last: closing an idle connection is the one thing that no server can do safely.
    """
    gate.say_goodbye()
    await asyncio.sleep(linger)
    gate.stop_accepting()
    await asyncio.sleep(0.1)  # what asyncio accepted just now becomes a connection in one of its next turns
    until = time.monotonic() + patience
    while gate.requests() or (gate.connections() and time.monotonic() < until):
        await asyncio.sleep(0.02)


async def serve(
    app: FastAPI,
    listener: socket.socket,
    linger: float = 0.0,
    patience: float = 5.0,
    drain: Callable = drain,
    ready: Callable[[], None] = lambda: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`, then drain."""
    stop = stop or asyncio.Event()
    # loop="asyncio": with uvloop, remove_reader would know nothing of the socket.
    config = uvicorn.Config(
        app, loop="asyncio", log_level="warning", access_log=False, timeout_keep_alive=KEEP_ALIVE
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    for number in (signal.SIGTERM, signal.SIGINT):  # in place of uvicorn's own handlers
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if not serving.done():
        ready()
        await stop.wait()
        await drain(Gate(server, listener, app), linger, patience)
        server.should_exit = True
    await serving


async def _until_end_of_input() -> None:
    """Return when standard input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


async def _main(arguments: argparse.Namespace) -> None:
    listener = socket.socket(fileno=arguments.socket)
    work = asyncio.create_task(
        serve(make_app(arguments), listener, arguments.linger, arguments.patience, ready=_say_ready)
    )
    orphaned = asyncio.create_task(_until_end_of_input())
    await asyncio.wait({work, orphaned}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        orphaned.cancel()
        work.result()
    else:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


def _say_ready() -> None:
    print("ready", flush=True)


def make_batcher(arguments: argparse.Namespace, seen: Callable[[int, float], Any]) -> Batcher:
    """A batcher around the model that the options ask for."""
    if arguments.stub is not None:
        run = Stub(arguments.stub)
    else:
        from week06_deployment.service.model import Classifier

        run = Classifier()
    return Batcher(run, arguments.most, arguments.wait, arguments.limit, seen=seen)


def make_app(arguments: argparse.Namespace) -> FastAPI:
    """The app that the options ask for: with its model, or in front of an inference service elsewhere."""
    metrics = Metrics()
    if arguments.inference:
        from week06_deployment.service.rpc import Remote

        return create_app(Remote(arguments.inference, arguments.deadline), metrics)
    return create_app(make_batcher(arguments, metrics.batch), metrics)


def options(parser: argparse.ArgumentParser) -> None:
    """The options that a worker and the master share."""
    add = parser.add_argument
    add("--most", type=int, default=16, help="images of a batch, at most (16)")
    add("--wait", type=float, default=0.002, help="seconds that a batch waits for more images (0.002)")
    add("--limit", type=int, default=64, help="images that may wait in a worker; more are refused (64)")
    add("--linger", type=float, default=0.0, help="seconds between /readyz's 503 and the closed door (0)")
    add(
        "--patience",
        type=float,
        default=5.0,
        help="seconds that idle connections are kept in a drain, at most (5)",
    )
    add("--stub", type=float, help="in place of the model, a stub that takes so many seconds for a batch")
    add("--inference", metavar="HOST:PORT", help="the inference service; without it, the model runs here")
    add("--deadline", type=float, default=10.0, help="seconds that the inference service may take (10)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m week06_deployment.service.worker", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="number of the inherited listening socket")
    options(parser)
    asyncio.run(_main(parser.parse_args()))
