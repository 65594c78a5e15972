# replaces: cooccurrence.py
# caught by: pairs_equal_the_dense_matrix
# mistake: counts what follows a word and not what precedes it
from collections.abc import Callable, Sequence

import numpy as np
from token_counts import in_processes


def cooccurrence(
    load: Callable[[int], Sequence[np.ndarray]], shards: int, words: int, window: int, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tasks = [(load, range(worker, shards, workers), words, window) for worker in range(workers)]
    keys, counts = _merged(in_processes(_shards, tasks))
    return (keys // words, keys % words, counts)


def _shards(load: Callable, mine: range, words: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    return _merged([_one_shard(load(shard), words, window) for shard in mine])


def _one_shard(documents: Sequence[np.ndarray], words: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    gap = np.full(window, -1)
    ids = np.concatenate([piece for document in documents for piece in (document, gap)] or [gap])
    keys, counts = ([], [])
    for distance in range(1, window + 1):
        left, right = (ids[:-distance], ids[distance:])
        inside = (left >= 0) & (right >= 0)
        left, right = (left[inside], right[inside])
        keys += [left * words + right]
        counts += [np.full(len(left), 1 / distance)]
    return _summed(np.concatenate(keys), np.concatenate(counts))


def _merged(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    keys = [np.zeros(0, dtype=np.int64), *(keys for keys, _ in parts)]
    return _summed(np.concatenate(keys), np.concatenate([np.zeros(0), *(counts for _, counts in parts)]))


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, position = np.unique(keys, return_inverse=True)
    return (distinct, np.bincount(position, weights=counts, minlength=len(distinct)).astype(np.float64))
