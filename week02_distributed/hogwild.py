"""GloVe on several processes that share the tables and never lock them: HOGWILD!

Niu, Recht, Re & Wright, *HOGWILD!: A Lock-Free Approach to Parallelizing Stochastic Gradient Descent*, NIPS 2011.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from week02_distributed import glove
from week02_distributed.processes import CONTEXT, Group, in_one_line

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
    pairs: tuple,
    words: int,
    dim: int,
    workers: int,
    epochs: int,
    batch: int,
    rate: float,
    seed=0,
    share: Callable | None = None,
) -> Run:
    """Train a fresh model on (first, second, counts) with `workers` processes on shared tables.

    Each worker runs `share`, with the arguments of `train_share`, which is the default.
    The clock starts when all workers stand ready. Raises WorkerFailed if one fails; none is left running.
    """
    tables = {name: SharedArray.copy_of(t) for name, t in glove.new_tables(words, dim, seed).items()}
    columns = [SharedArray.copy_of(column) for column in pairs]
    done = SharedArray.copy_of(np.full(workers, -1))  # pairs finished, by worker; -1: not ready yet
    go = CONTEXT.Event()
    with Group() as group:
        for worker in range(workers):
            sizes = epochs, batch, rate, seed
            group.start(_worker, share or train_share, worker, workers, columns, tables, done, go, *sizes)
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


def train_share(worker, workers, pairs, tables, done, epochs, batch, rate, seed) -> None:
    """What one worker does: every `workers`-th pair, in random order, on the common tables."""
    mine = [column[worker::workers] for column in pairs]
    rng = np.random.default_rng([seed, worker])  # without the worker's number, all would shuffle alike
    for _ in range(epochs):
        for chosen in glove.batches(len(mine[2]), batch, rng):
            glove.step(tables, *(column[chosen] for column in mine), rate)
            done[worker] += len(chosen)  # nobody else writes here, so no lock is needed


def _worker(
    share, worker, workers, columns, tables, done, go, epochs, batch, rate, seed
) -> tuple[float, float]:
    """Wait for the others, then do a share. Returns when it ended, and its CPU seconds."""
    pairs = [column.array for column in columns]
    views = {name: table.array for name, table in tables.items()}
    done.array[worker] = 0
    go.wait()
    start = time.process_time()
    share(worker, workers, pairs, views, done.array, epochs, batch, rate, seed)
    return time.perf_counter(), time.process_time() - start


def small_pairs() -> tuple:
    """6,000 made-up pairs of 60 words: (first, second, counts)."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(60, size=(2, 6000)).astype(np.int32)
    return first, second, (1 + (first * second) % 11 + rng.random(6000)).astype(np.float32)


def trial(share: Callable) -> list:
    """Run a worker's share on two processes, on `small_pairs`, six passes.

    Returns:
        The pairs done; whether the tables differ from those at the start; whether the loss is near that of one
        process. If all that one worker does were lost, it would be 4 times that.
    """
    pairs, sizes = small_pairs(), (60, 8)
    with in_one_line():
        run = train(pairs, *sizes, 2, 6, 200, 0.3, share=share)
    alone = glove.new_tables(*sizes, seed=0)
    moved = bool(np.any(run.tables["focus"] != alone["focus"]))
    glove.train(pairs, alone, epochs=6, batch=200, seed=0, rate=0.3)
    reached = glove.full_loss(run.tables, pairs) < 3 * glove.full_loss(alone, pairs)
    return [int(run.history[-1, 1]), moved, bool(reached)]


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
