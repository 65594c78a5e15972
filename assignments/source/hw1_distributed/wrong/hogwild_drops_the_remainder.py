# replaces: hogwild.py
# caught by: every_entry_once_per_epoch
# mistake: leaves out what does not fill the last batch
import multiprocessing
from collections.abc import Callable

import numpy as np
from token_counts import in_processes


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
    shared = {name: _shared(table) for name, table in tables.items()}
    done = _shared(np.zeros(workers, dtype=np.int64))
    tasks = [
        (shared, [column[worker::workers] for column in columns], step, epochs, batch, [seed, worker], done)
        for worker in range(workers)
    ]
    in_processes(_work, tasks, lambda: progress and progress(int(done.sum())))
    return {name: table.copy() for name, table in shared.items()}


def _shared(array: np.ndarray) -> np.ndarray:
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
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(columns[0]))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            step(tables, *(column[chosen] for column in columns))
            done[seed[1]] += len(chosen)
