# replaces: cooccurrence.py
# method: sorts from the largest key down and turns the arrays around, which leaves negative strides
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

_load = None


def cooccurrence(load, shards, words, window, workers):
    global _load
    _load = load  # forked workers have it; it need not be pickled
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        parts = list(pool.map(partial(_count, words, window), range(shards)))
    totals = {}
    for part in parts:
        for key, count in part.items():
            totals[key] = totals.get(key, 0.0) + count
    table = np.array(sorted(totals.items(), reverse=True), dtype=[("key", np.int64), ("count", np.float64)])
    keys, counts = table["key"][::-1], table["count"][::-1]
    pairs = np.asfortranarray(np.stack([keys // words, keys % words], 1))
    return pairs[:, 0], pairs[::-1, 1][::-1], counts


def _count(words, window, shard):
    counts = {}
    for document in _load(shard):
        ids = document.tolist()
        for place, word in enumerate(ids):
            for far, other in enumerate(ids[place + 1 : place + 1 + window], 1):
                if word >= 0 and other >= 0:
                    for key in (word * words + other, other * words + word):
                        counts[key] = counts.get(key, 0.0) + 1 / far
    return counts
