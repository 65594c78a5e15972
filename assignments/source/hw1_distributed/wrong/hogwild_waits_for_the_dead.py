# replaces: hogwild.py
# caught by: a_killed_worker_ends_the_training
# mistake: waits for a message of a worker that was killed
import multiprocessing
import time
import traceback

import numpy as np


def train(tables, columns, step, *, workers, epochs, batch, seed, progress=None):
    context = multiprocessing.get_context("fork")
    shared = {name: shared_copy(table) for name, table in tables.items()}
    done, messages = shared_copy(np.zeros(workers, dtype=np.int64)), context.Queue()
    processes = []
    for worker in range(workers):
        mine = [column[worker::workers] for column in columns]
        arguments = (shared, mine, step, epochs, batch, [seed, worker], done, messages)
        processes.append(context.Process(target=work, args=arguments, daemon=True))
        processes[-1].start()
    try:
        left = workers
        while left:
            if not messages.empty():
                if (error := messages.get()) is not None:
                    raise RuntimeError(error)
                left -= 1
            time.sleep(0.01)
            if progress:
                progress(int(done.sum()))
    finally:
        for process in processes:
            process.kill()
            process.join()
    if progress:
        progress(int(done.sum()))
    return {name: table.copy() for name, table in shared.items()}


def shared_copy(array):
    memory = multiprocessing.RawArray("b", max(1, array.nbytes))
    copy = np.frombuffer(memory, dtype=array.dtype, count=array.size).reshape(array.shape)
    copy[...] = array
    return copy


def work(tables, columns, step, epochs, batch, seed, done, messages):
    rng = np.random.default_rng(seed)
    try:
        for _ in range(epochs):
            order = rng.permutation(len(columns[0]))
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                step(tables, *(column[chosen] for column in columns))
                done[seed[1]] += len(chosen)
        messages.put(None)
    except Exception:
        messages.put(traceback.format_exc())
