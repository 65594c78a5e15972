"""HOGWILD!: several processes train one model in shared memory, without locks.

Niu, Recht, Re & Wright, HOGWILD!: A Lock-Free Approach to Parallelizing Stochastic Gradient Descent, NIPS 2011.
"""

import multiprocessing
from collections.abc import Callable

import numpy as np

### BEGIN SOLUTION
from token_counts import in_processes

### END SOLUTION


def train(
    tables: dict[str, np.ndarray],
    columns: tuple[np.ndarray, ...],
    step: Callable[..., None],
    *,
    workers: int,
    epochs: int,
    batch: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Train with `workers` processes at the same time; return the trained tables, and leave those given alone.

    `columns` are arrays of length N, such as first words, second words and counts. `step(tables, *rows)` makes
    one step, in place, on arrays that all workers share; `rows` are 1 to `batch` entries of each column. Nothing
    locks, so steps of different workers overlap. In each epoch every one of the N entries is in exactly one
    batch. The order within an epoch is random, and differs from epoch to epoch and from worker to worker.

    `progress(done)` is called in the calling process, about every tenth of a second while the workers run and
    once at the end. `done` is the number of entries finished so far, of `epochs * N`, and never falls.

    No process is left when this function returns or raises. If `step` raises in one worker, or a worker dies,
    it raises at once, whatever the others are doing, and with the worker's message where there is one.
    """
    ### BEGIN SOLUTION
    shared = {name: _shared(table) for name, table in tables.items()}
    done = _shared(np.zeros(workers, dtype=np.int64))  # a place for each worker, so that no two write to one
    tasks = [
        (shared, [column[worker::workers] for column in columns], step, epochs, batch, [seed, worker], done)
        for worker in range(workers)
    ]
    in_processes(_work, tasks, lambda: progress and progress(int(done.sum())))
    return {name: table.copy() for name, table in shared.items()}
    ### END SOLUTION


### BEGIN SOLUTION
def _shared(array: np.ndarray) -> np.ndarray:
    """Return a copy of `array` in memory that processes forked from this one share with it."""
    memory = multiprocessing.RawArray("b", max(1, array.nbytes))
    copy = np.frombuffer(memory, dtype=array.dtype, count=array.size).reshape(array.shape)
    copy[...] = array
    return copy


def _work(
    tables: dict[str, np.ndarray],
    columns: list[np.ndarray],
    step: Callable[..., None],
    epochs: int,
    batch: int,
    seed: list[int],
    done: np.ndarray,
) -> None:
    rng = np.random.default_rng(seed)  # of seed and worker: a fork begins with its parent's random state
    for _ in range(epochs):
        order = rng.permutation(len(columns[0]))
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            step(tables, *(column[chosen] for column in columns))
            done[seed[1]] += len(chosen)


### END SOLUTION
