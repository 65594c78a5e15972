"""The service over HTTP: `/predict`, `/metrics`, `/healthz`, `/readyz`."""

import os
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from week06_deployment.service import pictures
from week06_deployment.service.batcher import Batcher, Full, Stub
from week06_deployment.service.metrics import CONTENT_TYPE, Metrics
from week06_deployment.service.pictures import Refused


class Backend(Protocol):
    """What answers: a `Batcher` in this process, or `rpc.Remote`, the client of one elsewhere."""

    async def start(self) -> None: ...
    async def predict(self, item: np.ndarray) -> np.ndarray: ...
    async def close(self) -> None: ...


class Answer(BaseModel):
    """What `/predict` returns: the digit, and the model's probability for it."""

    digit: int
    probability: float
    worker: int


@dataclass
class State:
    """What the routes and the drain share."""

    ready: bool = False
    draining: bool = False
    open: int = 0  # requests that are being answered


class Doorkeeper:
    """Around the whole app: counts and times requests, and says `Connection: close` in every answer while draining.

    Pure ASGI, because what Starlette calls a middleware would copy each body through one more queue.
    """

    def __init__(self, app: Any, state: State, metrics: Metrics):
        self.app, self.state, self.metrics = app, state, metrics

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, code, noted = time.perf_counter(), 500, False
        self.state.open += 1
        self.metrics.open.inc()

        def note() -> None:
            nonlocal noted
            if noted:
                return
            noted = True
            # The route's own path, not what was asked for: a scan of a thousand addresses would be a thousand series.
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(code)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

        async def send_on(message: dict) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if self.state.draining:
                    message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            elif not message.get("more_body"):
                note()  # before the last byte: whoever has the answer finds it counted, in any worker
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        finally:
            self.state.open -= 1
            self.metrics.open.dec()
            note()  # where there was no answer


async def read(request: Request, most: int) -> bytes:
    """The body of a request. Raises Refused(413) as soon as it is longer than `most` bytes."""
    said = request.headers.get("content-length", "0")
    if said.isdigit() and int(said) > most:
        raise Refused(413, f"{said} bytes: send at most {most}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:  # whatever the header said, or without one
            raise Refused(413, f"send at most {most} bytes")
    return bytes(body)


def create_app(
    backend: Backend,
    metrics: Metrics | None = None,
    most_bytes: int = 2**20,
    most_pixels: int = 2**20,
    decode: Callable[[bytes, str, int], np.ndarray] = pictures.decode,
) -> FastAPI:
    """The service in front of a backend. `app.state.shared` is its `State`."""
    metrics, state = metrics or Metrics(), State()

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        await backend.start()
        state.ready = True
        yield
        state.ready = False
        await backend.close()

    app = FastAPI(title="digits", lifespan=lifespan)
    app.state.shared = state
    app.add_middleware(Doorkeeper, state=state, metrics=metrics)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": error.reason}, error.status)

    @app.exception_handler(Full)
    async def full(request: Request, error: Full) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 429, {"Retry-After": str(error.retry_after)})

    @app.post("/predict")
    async def predict(request: Request) -> Answer:
        body = await read(request, most_bytes)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        pixels = decode(body, kind, most_pixels)
        row = await backend.predict(pixels)
        return Answer(digit=int(row.argmax()), probability=float(row.max()), worker=os.getpid())

    @app.get("/healthz")
    async def healthz() -> dict:
        """The process lives: whoever starts it again on a failure looks here."""
        return {"status": "alive", "worker": os.getpid()}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """It wants requests: whoever sends them here looks first."""
        if state.ready and not state.draining:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "draining" if state.draining else "starting"}, 503)

    @app.get("/metrics")
    async def scrape() -> Response:
        if isinstance(backend, Batcher):
            metrics.queue.set(backend.queue.qsize())
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return app


def with_model() -> FastAPI:
    """The whole service for any ASGI server: `uvicorn --factory week06_deployment.service.app:with_model`."""
    from week06_deployment.service.model import Classifier

    metrics = Metrics()
    return create_app(Batcher(Classifier(), limit=1000, seen=metrics.batch), metrics)


def with_stub() -> FastAPI:
    """The same with a stub of 3 ms in place of the model: `gunicorn "week06_deployment.service.app:with_stub()"`."""
    metrics = Metrics()
    return create_app(Batcher(Stub(0.003), limit=1000, seen=metrics.batch), metrics)
