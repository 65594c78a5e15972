"""The checks of the seminar's exercises: your function in a real server, and a real client in front of it.

Each trial starts a server once, asks it everything, ends it, and then answers the check's questions.
"""

import asyncio
import contextlib
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from effdl.load import Answer, Http, background, open_loop
from week06_deployment import handed, setups
from week06_deployment.restarts import HEADERS, PICTURE, Connection, once
from week06_deployment.service import pictures

NO_ANSWER = "no answer"


@contextlib.contextmanager
def served(*options: object, **parts: Callable) -> Iterator[setups.Running]:
    """A server in which `parts` take the place of ours. Raises NotImplementedError for one that is not written."""
    environment = {handed.VARIABLE: handed.pack(**parts)}
    command = setups.module("week06_deployment.handed", *options)
    with setups.running(command, **environment) as server:
        yield server


def _trial(run: Callable[[], dict[str, Any]]) -> Callable[[str], Any]:
    """A function from a question to its answer; `run` finds all answers, at the first question."""
    found: dict[str, Any] = {}

    def ask(question: str) -> Any:
        if not found:
            found.update(run())
        return found[question]

    return ask


def code(answer: Answer | None) -> int | str:
    """Its status, or that there was none."""
    return NO_ANSWER if answer is None else answer.status


BAD = {
    "a PNG": (PICTURE, "image/png"),
    "a JPEG": (pictures.encode(np.zeros((8, 8), np.float32), kind="image/jpeg"), "image/jpeg"),
    "a text": (b"seven", "text/plain"),
    "a text that says it is a PNG": (b"seven", "image/png"),
    "half a PNG": (PICTURE[: len(PICTURE) // 2], "image/png"),
    "a JPEG that says it is a PNG": (
        pictures.encode(np.zeros((8, 8), np.float32), kind="image/jpeg"),
        "image/png",
    ),
    "four million pixels in 4 kB": (pictures.encode(np.zeros((8, 8), np.float32), 2000), "image/png"),
    "two megabytes": (b"\0" * 2**21, "image/png"),
}
"""Bodies that a service meets, good ones first, each with the Content-Type that it comes with."""


def answers_to(address: str, kinds: dict[str, tuple[bytes, str]] = BAD) -> dict[str, int | str]:
    """The status of the answer to each body, every one on a connection of its own."""
    return {name: code(once(address, "/predict", body, kind)) for name, (body, kind) in kinds.items()}


def decoder(decode: Callable) -> Callable[[str], Any]:
    """The trial of `decode(body, kind, pixels)`: statuses of a server that has it, and the pixels it returns."""

    def run() -> dict[str, Any]:
        with served("--stub", 0, decode=decode) as server:
            found: dict[str, Any] = answers_to(server.address)
        digit = np.random.default_rng(0).random((8, 8)).astype(np.float32)
        mine = decode(pictures.encode(digit), "image/png", 2**20)
        found["pixels"] = bool(np.allclose(mine, pictures.decode(pictures.encode(digit), "image/png")))
        return found

    return _trial(run)


def at_once(address: str, count: int, gap: float = 0.0) -> list[Answer | None]:
    """Ask for so many predictions at once, each on a connection that is open already, `gap` seconds apart."""
    connections = [Connection(address) for _ in range(count)]
    with ThreadPoolExecutor(count) as threads:
        futures = []
        for connection in connections:
            futures.append(threads.submit(connection.ask))
            time.sleep(gap)
        answers = [future.result() for future in futures]
    for connection in connections:
        connection.close()
    return answers


def patient(address: str, clients: int, seconds: float) -> int:
    """How many of so many clients, one after the other, get an answer; together they wait `seconds` at most."""
    answered, until = 0, time.monotonic() + seconds
    for _ in range(clients):
        connection = Connection(address, timeout=max(0.05, until - time.monotonic()))
        answered += connection.ask() is not None
        connection.close()
    return answered


@dataclass(frozen=True)
class Look:
    """What was seen of a server: see `look`."""

    milliseconds: float
    of_one_connection: list[int]
    scrapes: list[int]


def look(address: str, requests: int = 60) -> Look:
    """Look at a server from outside.

    Returns:
        milliseconds: median latency of 20 requests on one connection, one after the other.
        of_one_connection: how many of them each worker answered.
        scrapes: four times, how many of `requests` more, each on its own connection, /metrics has counted.
    """
    connection, times, workers = Connection(address), [], []
    for _ in range(20):
        began = time.perf_counter()
        answer = connection.ask()
        times.append(1e3 * (time.perf_counter() - began))
        workers.append(json.loads(answer.body)["worker"] if answer else None)
    connection.close()
    for _ in range(requests):
        once(address)
    series = 'http_requests_total{code="200",route="/predict"}'
    scrapes = [int(numbers(address).get(series, 0)) for _ in range(4)]
    return Look(float(np.median(times)), sorted(Counter(workers).values(), reverse=True), scrapes)


def inference(*options: object) -> contextlib.AbstractContextManager[setups.Running]:
    """The inference service, with its model; its address is "host:port"."""
    command = setups.module("week06_deployment.service.inference", *options)
    return setups.running(command, r"address\": \"([\d.]+:\d+)")


def grpc_answers(address: str, files: list[bytes]) -> list[tuple[int, float]]:
    """Digit and probability of each PNG file, asked over gRPC one by one."""
    import grpc

    from week06_deployment.service import rpc

    with grpc.insecure_channel(address) as channel:
        reader = rpc.services.ReaderStub(channel)
        answers = [
            reader.Predict(rpc.messages.Picture(file=file, content_type="image/png"), timeout=30)
            for file in files
        ]
    return [(answer.digit, answer.probability) for answer in answers]


def numbers(address: str) -> dict[str, float]:
    """The metrics of a server: name with labels, and value."""
    answer = once(address, "/metrics", None)
    lines = answer.body.decode().splitlines() if answer else []
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _collected(collect: Callable, items: int) -> list:
    """What it takes from a queue of so many items without a wait; in a thread, since a notebook has a loop."""

    async def work() -> list:
        queue: asyncio.Queue = asyncio.Queue()
        for item in range(items):
            queue.put_nowait(item)
        return await asyncio.wait_for(collect(queue, 8, 0.0), 10)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work()).result()


def collector(collect: Callable) -> Callable[[str], Any]:
    """The trial of `collect(queue, most, wait)`: batches of at most 8, a wait of 4 s, as the metrics count them."""

    def run() -> dict[str, Any]:
        with served("--stub", 0.02, "--most", 8, "--wait", 4, collect=collect) as server:

            def batches(count: int, gap: float = 0.0) -> tuple[int, float]:
                before, began = numbers(server.address)["batch_images_count"], time.monotonic()
                answers = at_once(server.address, count, gap)
                seconds = time.monotonic() - began
                if any(code(answer) != 200 for answer in answers):
                    return 0, seconds
                return int(numbers(server.address)["batch_images_count"] - before), seconds

            full, seconds = batches(16)
            few, longer = batches(3, 0.1)
        return {
            "of 5 in the queue, wait 0": len(_collected(collect, 5)),
            "batches for 16 at once": full,
            "full batches do not wait": seconds < 3.7,
            "batches for 3, one after the other": few,
            "4 s after the first, it goes": 3.7 < longer < 60,
        }

    return _trial(run)


def admitter(admit: Callable) -> Callable[[str], Any]:
    """The trial of `admit(waiting, limit, pace)`: a stub of 2 s is busy, four may wait, eleven come."""

    def run() -> dict[str, Any]:
        options = ("--stub", 2.0, "--most", 4, "--wait", 0, "--limit", 4)
        with served(*options, admit=admit) as server, ThreadPoolExecutor(1) as aside:
            first = aside.submit(once, server.address)
            setups.until(lambda: numbers(server.address).get("http_requests_open", 0) >= 2)
            time.sleep(0.1)
            answers = [first.result, *at_once(server.address, 11)]
            answers[0] = answers[0]()
        refused = [answer for answer in answers if code(answer) == 429]
        after = [answer.headers.get("retry-after", "") for answer in refused if answer]
        return {
            "answered of 12": sum(code(answer) == 200 for answer in answers),
            "refused with 429": len(refused),
            "all with Retry-After": bool(after) and all(text.isdigit() and int(text) >= 1 for text in after),
            "10 wait, 0.7 s each": admit(10, 4, 0.7),
            "10 wait, 1 ms each": admit(10, 4, 0.001),
            "3 wait": admit(3, 4, 0.7),
        }

    return _trial(run)


def drainer(drain: Callable) -> Callable[[str], Any]:
    """The trial of `drain(gate, linger, patience)`: SIGTERM with a request in flight, and with an idle connection."""

    def run() -> dict[str, Any]:
        options = ("--stub", 2.5, "--linger", 2.0, "--patience", 6.0)
        with served(*options, drain=drain) as server, ThreadPoolExecutor(1) as aside:
            idle = Connection(server.address)
            idle.ask("/healthz", None)
            flying = aside.submit(once, server.address)
            setups.until(lambda: numbers(server.address).get("http_requests_open", 0) >= 2)
            server.send(signal.SIGTERM)
            time.sleep(0.3)
            ready = once(server.address, "/readyz", None)
            in_flight = code(flying.result())
            time.sleep(0.5)  # the door is closed by now
            last = idle.ask("/predict")
            idle.close()
            with contextlib.suppress(Exception):
                server.process.wait(20)
            return {
                "/readyz, while the door is open": code(ready),
                "the request in flight": in_flight,
                "the idle connection's next request": code(last),
                "and its header": (last.headers.get("connection", "") if last else NO_ANSWER),
                "exit status": server.process.poll(),
            }

    return _trial(run)


def roller(roll: Callable) -> Callable[[str], Any]:
    """The trial of `roll(workers, start, stop)`: two workers of our master, under a load that tries nothing twice."""

    def run() -> dict[str, Any]:
        with served("--stub", 0.003, "--limit", 1000, "--patience", 2, roll=roll) as server:
            old, most, over = server.workers(), [2], threading.Event()

            def watch() -> None:
                while not over.is_set():
                    most.append(len(server.workers()))
                    time.sleep(0.02)

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            send = Http(f"{server.address}/predict", PICTURE, headers=HEADERS)
            load = background(open_loop, send, 60, 60, timeout=30, stop=over)
            time.sleep(0.5)
            server.send(signal.SIGHUP)
            ended = "rolled" in server.wait_for(r"(\{.*roll.*\})").group(1)
            over.set()
            watcher.join()
            return {
                "it ends": ended,
                "old workers left": len(set(old) & set(server.workers())),
                "a new one beside both old ones": max(most) > 2,
                "failed requests": load.result().failed,
            }

    return _trial(run)
