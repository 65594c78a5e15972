# replaces: hogwild.py
# method: no shares: whoever is free takes the next batch of the epoch's order; futures of an executor
import multiprocessing
import time
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait

import numpy as np

state = {}


def _start(everything):
    state.update(everything)


def _train(worker):
    tables, columns, seed = state["tables"], state["columns"], state["seed"]
    batch, epochs, taken, done = state["batch"], state["epochs"], state["taken"], state["done"]
    total = len(columns[0])
    per_epoch = -(-total // batch)
    np.random.seed((seed * 1000 + worker) % 2**32)
    current, order = -1, None
    while True:
        with taken.get_lock():  # around one addition, not around a step
            number = taken.value
            taken.value += 1
        epoch, place = divmod(number, max(1, per_epoch))
        if epoch >= epochs or total == 0:
            return
        if epoch != current:
            current, order = epoch, np.random.default_rng([seed, epoch]).permutation(total)
        while sum(done) < epoch * total:  # else two epochs would change the same rows at once
            time.sleep(0.0005)
        rows = order[place * batch : (place + 1) * batch]
        state["step"](tables, *(column[rows] for column in columns))
        done[worker] += len(rows)


def train(tables, columns, step, *, workers, epochs, batch, seed, progress=None):
    fork = multiprocessing.get_context("fork")
    shared = {}
    for name, table in tables.items():
        memory = fork.RawArray("c", max(table.nbytes, 1))
        shared[name] = np.frombuffer(memory, table.dtype, table.size).reshape(table.shape)
        np.copyto(shared[name], table)
    done = fork.RawArray("q", workers)
    everything = {
        "tables": shared, "columns": columns, "step": step, "batch": batch, "epochs": epochs, "seed": seed,
        "taken": fork.Value("q", 0), "done": done,
    }  # fmt: skip
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, fork, initializer=_start, initargs=(everything,))
    try:
        waiting = {pool.submit(_train, w) for w in range(workers)}
        while waiting:
            ended, waiting = wait(waiting, timeout=0.1, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
            if progress and waiting:
                progress(sum(done))
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise
    finally:
        pool.shutdown()
    if progress:
        progress(sum(done))
    return {name: table.copy() for name, table in shared.items()}
