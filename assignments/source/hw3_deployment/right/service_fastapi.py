# replaces: service.py
# method: FastAPI under uvicorn, pydantic for what is valid, prometheus_client for the metrics
import asyncio
import contextlib
import signal
from typing import Annotated

import uvicorn
from batcher import Batcher, Closed, Full
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, Field

SIDE = 8
MOST_BYTES = 65_536
BUCKETS = (1, 2, 4, 8, 16)

Pixel = Annotated[int, Field(strict=True, ge=0, le=255)]
Row = Annotated[list[Pixel], Field(min_length=SIDE, max_length=SIDE)]


class Question(BaseModel):
    image: Annotated[list[Row], Field(min_length=SIDE, max_length=SIDE)]


class Limit:
    """Answers 413 to what announces too much, before a byte of it is read."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            length = dict(scope["headers"]).get(b"content-length", b"0")
            if int(length) > MOST_BYTES:
                await PlainTextResponse("too much", 413, {"Connection": "close"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Server(uvicorn.Server):
    on_exit = None

    def handle_exit(self, sig, frame):
        if not self.should_exit:
            self.on_exit()
        super().handle_exit(sig, frame)


def serve(model, port, max_batch, max_wait, max_queue):
    registry = CollectorRegistry()
    answered = Counter("app_http_inference_count", "Predictions that were answered", registry=registry)
    sizes = Histogram("app_model_batch_size", "Images in a batch", buckets=BUCKETS, registry=registry)
    state = {"ready": False}

    async def ask(images):
        names = await asyncio.to_thread(model, images)
        sizes.observe(len(images))
        return names

    batcher = Batcher(ask, max_batch, max_wait, max_queue)

    async def warm_up():
        await asyncio.to_thread(model, [[[0] * SIDE for _ in range(SIDE)]])
        state["ready"] = True

    @contextlib.asynccontextmanager
    async def lifespan(app):
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(warm_up())]

        def end():
            state["ready"] = False
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(batcher.close())))

        server.on_exit = end
        yield
        await batcher.close()

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(Limit)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError):
        malformed = any(one["type"] == "json_invalid" for one in error.errors())
        return JSONResponse({"detail": "invalid"}, 400 if malformed else 422)

    @app.post("/predict")
    async def predict(question: Question):
        if not state["ready"]:
            raise HTTPException(503)
        try:
            names = await batcher.predict(question.image)
        except Full:
            raise HTTPException(429, headers={"Retry-After": "1"}) from None
        except Closed:
            raise HTTPException(503) from None
        except Exception:
            raise HTTPException(500) from None
        answered.inc()
        return {"objects": names}

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    async def healthz():
        return {}

    @app.get("/readyz")
    async def readyz():
        if not state["ready"]:
            raise HTTPException(503)
        return {}

    config = uvicorn.Config(app, "127.0.0.1", port, log_level="warning", timeout_graceful_shutdown=2)
    server = Server(config)
    # uvicorn raises the signal once more when it has ended: this is what it meets then.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server.run()
