"""A service that reads digits, small enough to build into an image many times: FastAPI in front of one matrix.

It says how it is: `/metrics` for Prometheus, `/healthz` (the process lives), `/readyz` (it can answer). With FAULTS=1
in its environment it obeys two headers, for tests: X-Delay-Ms makes an answer late, X-Fault makes it a 500.
"""

import asyncio
import contextlib
import json
import operator
import os
import time
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

PIXELS = 64
FAULTS = os.environ.get("FAULTS") == "1"

REQUESTS = Counter("http_requests", "Answers, by route and status.", ["route", "code"])
SECONDS = Histogram("http_request_seconds", "From the request's head to the answer.", ["route"])
WITHIN = Gauge("http_requests_open", "Requests that wait for their answer.")
MODEL = {}


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI):
    # A row for each digit: a weight for each pixel, and the bias.
    MODEL["weights"] = json.loads(Path(__file__).with_name("weights.json").read_text())
    yield
    MODEL.clear()


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def watched(request: Request, call_next):
    """Count and time every request, those that fail too."""
    # The route's own path, never the raw one: each value of a label is a time series of its own.
    route = request.url.path if request.url.path in ROUTES else "other"
    code, began = 500, time.perf_counter()
    WITHIN.inc()
    try:
        response = await call_next(request)
        code = response.status_code
        return response
    finally:
        WITHIN.dec()
        SECONDS.labels(route).observe(time.perf_counter() - began)
        REQUESTS.labels(route, code).inc()


@app.post("/predict")
async def predict(request: Request):
    """64 bytes, a pixel of 0 to 16 each, to a digit."""
    if FAULTS:
        await asyncio.sleep(float(request.headers.get("x-delay-ms", 0)) / 1e3)
        if "x-fault" in request.headers:
            raise HTTPException(500, "as the header asked")
    body = await request.body()
    if len(body) != PIXELS:
        raise HTTPException(422, f"send {PIXELS} bytes, one for each pixel; these are {len(body)}")
    pixels = [byte / 16 for byte in body] + [1]
    scores = [sum(map(operator.mul, row, pixels)) for row in MODEL["weights"]]
    return {"digit": scores.index(max(scores))}


@app.get("/healthz")
async def healthz():
    return {"alive": True}


@app.get("/readyz")
async def readyz():
    if "weights" not in MODEL:
        raise HTTPException(503, "the model is not loaded")
    return {"ready": True}


@app.get("/metrics")
async def metrics():
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


ROUTES = {"/predict", "/healthz", "/readyz", "/metrics"}
