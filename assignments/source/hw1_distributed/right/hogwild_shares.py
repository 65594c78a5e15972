# replaces: hogwild.py
# method: fixed shares, one generator per worker, done counters in shared memory, sentinels and exit codes
import multiprocessing as mp
from multiprocessing.connection import wait

import numpy as np


def share_memory(ctx, array):
    raw = ctx.RawArray("b", max(1, array.nbytes))
    shared = np.frombuffer(raw, dtype=array.dtype, count=array.size).reshape(array.shape)
    shared[...] = array
    return shared


def run(tables, columns, step, worker, workers, epochs, batch, seed, done, errors):
    try:
        rng = np.random.default_rng([seed, worker])
        np.random.seed(rng.integers(2**31))
        mine = np.arange(worker, len(columns[0]), workers)
        for _ in range(epochs):
            order = rng.permutation(mine)
            for i in range(0, len(order), batch):
                rows = order[i : i + batch]
                step(tables, *[column[rows] for column in columns])
                done[worker] += len(rows)
    except Exception as error:
        errors.put(f"{type(error).__name__}: {error}")
        raise SystemExit(1) from error


def train(tables, columns, step, *, workers, epochs, batch, seed, progress=None):
    ctx = mp.get_context("fork")
    shared = {name: share_memory(ctx, table) for name, table in tables.items()}
    done = np.frombuffer(ctx.RawArray("q", workers), dtype=np.int64)
    errors = ctx.SimpleQueue()
    processes = []
    try:
        for w in range(workers):
            args = (shared, columns, step, w, workers, epochs, batch, seed, done, errors)
            processes.append(ctx.Process(target=run, args=args))
            processes[-1].start()
        running = list(processes)
        while running:
            wait([p.sentinel for p in running], timeout=0.1)
            running = [p for p in running if p.is_alive()]
            for p in processes:
                if p not in running and p.exitcode != 0:
                    raise RuntimeError(errors.get() if not errors.empty() else f"a worker died: {p.exitcode}")
            if progress and running:
                progress(int(done.sum()))
    finally:
        for p in processes:
            p.kill()
            p.join()
    if progress:
        progress(epochs * len(columns[0]))
    return {name: table.copy() for name, table in shared.items()}
