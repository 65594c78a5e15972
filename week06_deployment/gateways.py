"""One function as a WSGI and as an ASGI application, and the servers that call them.

The model takes ``MODEL`` seconds without the processor, as one on another device does.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from effdl import load

MODEL = 0.06
ROOT = Path(__file__).resolve().parent.parent


def model(text: bytes) -> dict[str, Any]:
    """The function that is to become a service."""
    time.sleep(MODEL)
    return {"letters": len(text)}


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """WSGI (PEP 3333): called once for a request; whoever calls is busy until it returns."""
    if environ["PATH_INFO"] == "/healthz":
        answer: Any = "well"
    else:
        answer = model(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def _answer(send: Any, answer: Any) -> None:
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def blocking(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI, with the mistake that everybody makes once: the model is called in the event loop."""
    body = await _body(receive)
    await _answer(send, "well" if scope["path"] == "/healthz" else model(body))


async def threaded(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: the model is called in a thread, and the event loop goes on."""
    body = await _body(receive)
    if scope["path"] == "/healthz":
        await _answer(send, "well")
    else:
        await _answer(send, await asyncio.to_thread(model, body))


SERVERS = {
    "WSGI, 1 worker": ["gunicorn", "--workers=1", "wsgi"],
    "WSGI, 1 worker of 8 threads": ["gunicorn", "--workers=1", "--threads=8", "wsgi"],
    "ASGI, model in the event loop": ["uvicorn", "blocking"],
    "ASGI, model in a thread": ["uvicorn", "threaded"],
}


@contextmanager
def running(server: str) -> Iterator[str]:
    """One of SERVERS in a process of its own while the block runs; gives its address.

    We open the port and hand it over, open already: a client that comes too early waits, and is not refused.
    """
    program, *options, application = SERVERS[server]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        number = listening.fileno()
        quiet = [f"--bind=fd://{number}", "--log-level=error", "--no-control-socket"]
        if program == "uvicorn":
            quiet = [f"--fd={number}", "--log-level=error", "--lifespan=off"]
        command = [
            sys.executable,
            "-m",
            program,
            *options,
            *quiet,
            f"week06_deployment.gateways:{application}",
        ]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[number])
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            process.wait()


def health_beside(predictions: int, rounds: int, rest: float) -> Mapping[str, tuple[float, float]]:
    """For each of SERVERS: seconds until all predictions are answered, and those of a health check sent just after.

    Each round sends ``predictions`` at once and the check 10 ms later; ``rest`` seconds later the next round begins.
    Medians over rounds; all servers side by side. Raises RuntimeError if a request fails.
    """
    starts = rest * np.arange(rounds)
    plans = {}
    with ExitStack() as stack:
        addresses = {name: stack.enter_context(running(name)) for name in SERVERS}
        for name, url in addresses.items():
            load.open_loop(load.Http(f"{url}/healthz"), times=[0.0], timeout=60)  # it has started
            plans[f"{name}/predict"] = (
                load.Http(f"{url}/predict", b"some text"),
                np.repeat(starts, predictions),
            )
            plans[f"{name}/health"] = load.Http(f"{url}/healthz"), starts + 0.01
        found = load.together(plans)
    if any(result.failed for result in found.values()):
        raise RuntimeError(f"requests failed: { {name: result.errors for name, result in found.items()} }")
    return {
        name: (
            float(np.median(found[f"{name}/predict"].latencies.reshape(rounds, predictions).max(axis=1))),
            float(np.median(found[f"{name}/health"].latencies)),
        )
        for name in SERVERS
    }
