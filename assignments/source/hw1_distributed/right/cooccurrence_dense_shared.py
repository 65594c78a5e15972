# replaces: cooccurrence.py
# method: one dense matrix per worker in shared memory, the upper triangle filled distance by distance with add.at
import multiprocessing
import time

import numpy as np


def _matrix(memory, words):
    return np.frombuffer(memory, dtype=np.float64).reshape(words, words)


def _work(load, mine, words, window, memory, failures):
    try:
        X = _matrix(memory, words)
        for shard in mine:
            for doc in load(shard):
                for distance in range(1, min(window, len(doc) - 1) + 1):
                    left, right = doc[:-distance], doc[distance:]
                    known = (left >= 0) & (right >= 0)
                    np.add.at(X, (left[known], right[known]), 1.0 / distance)
    except Exception as error:
        failures.put(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None


def cooccurrence(load, shards, words, window, workers):
    context = multiprocessing.get_context("fork")
    failures = context.SimpleQueue()
    memories = [context.RawArray("d", words * words) for _ in range(workers)]
    processes = [
        context.Process(
            target=_work, args=(load, range(w, shards, workers), words, window, memories[w], failures)
        )
        for w in range(workers)
    ]
    for process in processes:
        process.start()
    try:
        while any(process.exitcode is None for process in processes):
            time.sleep(0.005)
            if any(process.exitcode not in (None, 0) for process in processes):
                break
        for w, process in enumerate(processes):
            if process.exitcode not in (None, 0):
                why = failures.get() if not failures.empty() else f"exit code {process.exitcode}"
                raise RuntimeError(f"worker {w} failed: {why}")
    finally:
        for process in processes:
            process.kill()
            process.join()
    one_way = sum(_matrix(memory, words) for memory in memories)
    both = one_way + one_way.T
    rows, columns = both.nonzero()
    return rows, columns, both[rows, columns]
