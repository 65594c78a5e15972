"""GloVe on several processes that share the tables and never lock them: HOGWILD!

Niu, Recht, Re & Wright, *HOGWILD!: A Lock-Free Approach to Parallelizing Stochastic Gradient Descent*, NIPS 2011.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from week02_distributed import glove
from week02_distributed.processes import CONTEXT, Group

LOG_EVERY = 0.1  # seconds between two looks at the loss
SAMPLE = 20_000  # pairs in such a look


@dataclass
class SharedArray:
    """A numpy array in memory that worker processes see too, handed over when they start.

    The memory has no name in the file system. It is gone with the last process that maps it, even after a kill.
    """

    memory: Any
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def copy_of(cls, array: np.ndarray) -> "SharedArray":
        """Shared memory that holds the values of `array`."""
        shared = cls(CONTEXT.RawArray("b", max(1, array.nbytes)), array.shape, array.dtype)
        shared.array[...] = array
        return shared

    @property
    def array(self) -> np.ndarray:
        """The values; a write is seen by every process."""
        size = math.prod(self.shape)
        return np.frombuffer(self.memory, dtype=self.dtype, count=size).reshape(self.shape)


@dataclass
class Run:
    """A training run: the trained tables, and (seconds, pairs done, loss on a sample) at every look."""

    tables: dict[str, np.ndarray]
    history: np.ndarray
    seconds: float
    busiest: float = float("nan")  # CPU seconds of the worker that needed most, loading not counted

    def seconds_to(self, loss: float) -> float:
        """Seconds until the sampled loss first fell to `loss`, interpolated between two looks; inf if never."""
        times, losses = self.history[:, 0], np.minimum.accumulate(self.history[:, 2])
        if losses[-1] > loss:
            return float("inf")
        after = int(np.argmax(losses <= loss))
        if after == 0:
            return float(times[0])
        return float(np.interp(-loss, -losses[after - 1 : after + 1], times[after - 1 : after + 1]))


def train(
    pairs: tuple, words: int, dim: int, workers: int, epochs: int, batch: int, rate: float, seed=0
) -> Run:
    """Train a fresh model on (first, second, counts) with `workers` processes on shared tables.

    The clock starts when all workers stand ready. Raises WorkerFailed if one fails; none is left running.
    """
    tables = {name: SharedArray.copy_of(t) for name, t in glove.new_tables(words, dim, seed).items()}
    columns = [SharedArray.copy_of(column) for column in pairs]
    done = SharedArray.copy_of(np.full(workers, -1))  # pairs finished, by worker; -1: not ready yet
    go = CONTEXT.Event()
    with Group() as group:
        for worker in range(workers):
            group.start(_worker, worker, workers, columns, tables, done, go, epochs, batch, rate, seed)
        while done.array.min() < 0:
            group.poll(0.005)
        views = {name: table.array for name, table in tables.items()}
        before = (0.0, 0, glove.full_loss(views, sample_of(pairs)))
        start = time.perf_counter()
        go.set()
        history = np.array([before, *_watch(group, done.array, views, pairs, epochs, start)], dtype=float)
        ends, work = zip(*group.results(), strict=True)
    copies = {name: table.copy() for name, table in views.items()}
    return Run(copies, history, max(ends) - start, max(work))


def _worker(worker, workers, columns, tables, done, go, epochs, batch, rate, seed) -> tuple[float, float]:
    """Every `workers`-th pair, in random order, on the common tables. Returns when it ended, and its CPU seconds."""
    mine = [column.array[worker::workers] for column in columns]
    views = {name: table.array for name, table in tables.items()}
    rng = np.random.default_rng([seed, worker])  # without the worker's number, all would shuffle alike
    done.array[worker] = 0
    go.wait()
    start = time.process_time()
    for _ in range(epochs):
        for chosen in glove.batches(len(mine[2]), batch, rng):
            glove.step(views, *(column[chosen] for column in mine), rate)
            done.array[worker] += len(chosen)  # nobody else writes here, so no lock is needed
    return time.perf_counter(), time.process_time() - start


def sample_of(pairs: tuple) -> tuple:
    """The same `SAMPLE` pairs in every run, on which the loss is watched."""
    chosen = np.random.default_rng(0).integers(len(pairs[2]), size=SAMPLE)
    return tuple(column[chosen] for column in pairs)


def _watch(
    group: Group, done: np.ndarray, tables: dict, pairs: tuple, epochs: int, start: float
) -> Iterator[tuple]:
    """Look at the loss and the counters of the workers until all have returned."""
    sample, finished = sample_of(pairs), False
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("GloVe", total=epochs * len(pairs[2]))
        while not finished:
            finished = group.poll(LOG_EVERY)
            yield time.perf_counter() - start, done.sum(), glove.full_loss(tables, sample)
            progress.update(bar, completed=int(done.sum()))
