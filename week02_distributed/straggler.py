"""A real parameter server with real workers, one of which may be slow: synchronous, bounded, asynchronous.

The model is `staleness.Digits`. A worker's device is a stand-in that only takes time, so that eight workers can run
on two cores; processes, messages, waiting and the clock are real.
"""

import math
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait

import numpy as np

from week02_distributed.processes import CONTEXT, Group
from week02_distributed.staleness import Digits, Simulated

BATCH = 32


def train(
    durations: Sequence[float], pushes: int, step: float, bound: float = math.inf, seed: int = 0
) -> Simulated:
    """Train with one worker process per entry of `durations`, the seconds of its device per batch.

    The arguments and the result are those of `staleness.simulate`, with seconds of this machine's clock.
    """
    task, pipes = Digits(), [CONTEXT.Pipe() for _ in durations]
    with Group() as group:
        for worker, (_, theirs) in enumerate(pipes):
            group.start(_work, theirs, task, durations[worker], [seed, worker])
            theirs.close()
        ends = [ours for ours, _ in pipes]
        for end in ends:
            end.recv()  # all workers are up before the clock starts
        found = _serve(ends, task, pushes, step, bound)
        for end in ends:
            end.close()  # the workers see it, and leave
        group.results()
    return found


def _serve(ends: Sequence[Connection], task: Digits, pushes: int, step: float, bound: float) -> Simulated:
    """Hand out weights, apply gradients, hold back who is too far ahead; until `pushes` gradients are in."""
    weights, version, done = np.zeros((65, 10)), 0, 0
    clocks, seen, held, together = [0] * len(ends), [0] * len(ends), set(range(len(ends))), []
    looks, staleness, steps, start = [], [], [], time.perf_counter()
    worker_of = {end: worker for worker, end in enumerate(ends)}
    while done < pushes:
        for worker in [w for w in held if clocks[w] - min(clocks) <= bound]:
            held.remove(worker)
            seen[worker] = version
            ends[worker].send(weights)
        for end in wait(ends):
            worker = worker_of[end]
            together.append(end.recv())
            clocks[worker] += 1
            held.add(worker)
            if bound == 0 and len(together) < len(ends):
                continue
            weights = weights - step * np.sum(together, axis=0)
            staleness += [version - seen[worker]] * len(together)
            steps += [step] * len(together)
            version, done, together = version + 1, done + len(together), []
            if done % len(ends) == 0:
                looks.append((time.perf_counter() - start, done, weights))
    losses = [(seconds, count, task.loss(w)) for seconds, count, w in looks]  # off the clock
    return Simulated(*np.array(losses).T, np.array(staleness), np.array(steps))


def _work(server: Connection, task: Digits, duration: float, seed: list[int]) -> None:
    rng = np.random.default_rng(seed)
    server.send("ready")
    while True:
        try:
            weights = server.recv()
            time.sleep(duration)  # the device
            server.send(task.gradient(weights, rng.integers(len(task.labels), size=BATCH)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
