# replaces: cooccurrence.py
# method: plain loops over places, one dictionary per shard, an executor that gets one shard after the other
import multiprocessing
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np

_load = None


def _remember(load):
    global _load
    _load = load


def _count(shard, window):
    counts = defaultdict(float)
    for document in _load(shard):
        document = document.tolist()
        for p, a in enumerate(document):
            if a < 0:
                continue
            for q in range(p + 1, min(p + window + 1, len(document))):
                b = document[q]
                if b >= 0:
                    counts[a, b] += 1 / (q - p)
                    counts[b, a] += 1 / (q - p)
    return dict(counts)


def cooccurrence(load, shards, words, window, workers):
    fork = multiprocessing.get_context("fork")
    total = defaultdict(float)
    with ProcessPoolExecutor(workers, mp_context=fork, initializer=_remember, initargs=(load,)) as pool:
        try:
            for future in as_completed([pool.submit(_count, shard, window) for shard in range(shards)]):
                for pair, count in future.result().items():
                    total[pair] += count
        except BaseException:
            for process in pool._processes.values():
                process.kill()
            raise
    pairs = sorted(total)
    rows = np.array([a for a, _ in pairs], dtype=np.int64)
    columns = np.array([b for _, b in pairs], dtype=np.int64)
    return rows, columns, np.array([total[pair] for pair in pairs], dtype=np.float64)
