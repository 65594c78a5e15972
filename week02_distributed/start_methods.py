"""What it costs to start a process by each start method, and what a fork inherits. Run as a script of its own:

    python -m week02_distributed.start_methods

A notebook has threads, and a fork of a program with threads can hang. This script has none. (No measurement may start
in a notebook that would not be safe in a student's own program.)
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import numpy as np

ROUNDS = 5


def draw(outbox) -> None:
    """Send a number from numpy's global generator, as a careless worker would draw it."""
    outbox.put(float(np.random.random()))


def nothing() -> None:
    """The shortest job there is."""


def start_seconds(method: str) -> float:
    """Seconds to start a process that does nothing, and to see it end."""
    process = multiprocessing.get_context(method).Process(target=nothing)
    start = time.perf_counter()
    process.start()
    process.join()
    return time.perf_counter() - start


def drawn(method: str, workers: int) -> list[float]:
    """What `workers` processes draw, when the parent has drawn before."""
    context = multiprocessing.get_context(method)
    np.random.random()
    queue = context.SimpleQueue()
    processes = [context.Process(target=draw, args=(queue,)) for _ in range(workers)]
    for process in processes:
        process.start()
    values = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    return values


def report() -> dict:
    """Start times of every method in interleaved rounds, and the numbers that forked and spawned workers drew."""
    methods = [m for m in ("fork", "forkserver", "spawn") if m in multiprocessing.get_all_start_methods()]
    multiprocessing.set_forkserver_preload(["numpy"])
    start_seconds("forkserver")  # the first one also starts the server, which imports numpy once for all
    seconds = {method: [] for method in methods}
    for _ in range(ROUNDS):
        for method in methods:
            seconds[method].append(start_seconds(method))
    return {"seconds": seconds, "drawn": {method: drawn(method, 2) for method in methods}}


def in_fresh_process() -> dict:
    """`report()` from a new interpreter, which has no threads and no notebook."""
    command = [sys.executable, "-m", "week02_distributed.start_methods"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, cwd=folder, env=environment, check=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps(report()))
