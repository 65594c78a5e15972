"""Count with several processes which words stand near each other.

Try it: python cooccurrence.py
"""

from collections.abc import Callable, Sequence

import numpy as np

### BEGIN SOLUTION
from token_counts import in_processes

### END SOLUTION


def cooccurrence(
    load: Callable[[int], Sequence[np.ndarray]], shards: int, words: int, window: int, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weighted counts of pairs of words that stand at most `window` places apart.

    `load(shard)`, for shard in 0 .. shards - 1, returns a list of documents, each an int64 array of word ids in
    0 .. words - 1, or -1 for a word that is not in the vocabulary. It is called once per shard, in one of
    `workers` processes that work at the same time, never in the calling process.

    Two places p != q of one document with |p - q| <= window add 1 / |p - q| to the count of the pair (word at p,
    word at q), for each of the two orders. A -1 keeps its place and belongs to no pair.

    Returns rows int64 [K], columns int64 [K] and counts float64 [K] of the pairs that occur, each pair once,
    sorted by row, then by column. Exceptions and processes: as in `count_tokens`.
    """
    ### BEGIN SOLUTION
    tasks = [(load, range(worker, shards, workers), words, window) for worker in range(workers)]
    keys, counts = _merged(in_processes(_shards, tasks))
    return keys // words, keys % words, counts
    ### END SOLUTION


### BEGIN SOLUTION
def _shards(load: Callable, mine: range, words: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return keys (row * words + column, ascending) and counts of some shards."""
    return _merged([_one_shard(load(shard), words, window) for shard in mine])


def _one_shard(documents: Sequence[np.ndarray], words: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    gap = np.full(window, -1)  # no pair may reach into the next document
    ids = np.concatenate([piece for document in documents for piece in (document, gap)] or [gap])
    keys, counts = [], []
    for distance in range(1, window + 1):
        left, right = ids[:-distance], ids[distance:]
        inside = (left >= 0) & (right >= 0)
        left, right = left[inside], right[inside]
        keys += [left * words + right, right * words + left]
        counts += [np.full(2 * len(left), 1 / distance)]
    return _summed(np.concatenate(keys), np.concatenate(counts))


def _merged(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    keys = [np.zeros(0, dtype=np.int64), *(keys for keys, _ in parts)]
    return _summed(np.concatenate(keys), np.concatenate([np.zeros(0), *(counts for _, counts in parts)]))


def _summed(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, position = np.unique(keys, return_inverse=True)
    # Without a single pair, bincount returns integers.
    return distinct, np.bincount(position, weights=counts, minlength=len(distinct)).astype(np.float64)


### END SOLUTION


if __name__ == "__main__":
    documents = [[np.array([0, 1, 0, 2])], [np.array([2, -1, 1])]]
    for pair in zip(*cooccurrence(documents.__getitem__, 2, words=3, window=2, workers=2), strict=True):
        print(*pair)
