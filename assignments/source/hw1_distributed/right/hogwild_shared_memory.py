# replaces: hogwild.py
# method: named shared memory that is unlinked in the end; a queue of errors; shares shuffled in place
import contextlib
import multiprocessing as mp
import queue
from multiprocessing.shared_memory import SharedMemory

import numpy as np


def work(tables, columns, step, mine, epochs, batch, seed, done, w, out):
    try:
        rng = np.random.default_rng(seed)
        for _ in range(epochs):
            rng.shuffle(mine)
            for i in range(0, len(mine), batch):
                step(tables, *(c[mine[i : i + batch]] for c in columns))
                done[w] += len(mine[i : i + batch])
        out.put(None)
    except Exception as e:
        out.put(repr(e))


def train(tables, columns, step, *, workers, epochs, batch, seed, progress=None):
    ctx = mp.get_context("fork")
    memories, shared = [], {}
    for name, table in tables.items():
        memories.append(SharedMemory(create=True, size=max(1, table.nbytes)))
        shared[name] = np.ndarray(table.shape, table.dtype, memories[-1].buf)
        shared[name][...] = table
    done, out = ctx.RawArray("q", workers), ctx.Queue()
    processes = []
    try:
        for w in range(workers):
            mine = np.arange(w, len(columns[0]), workers)
            args = (shared, columns, step, mine, epochs, batch, [seed, w], done, w, out)
            processes.append(ctx.Process(target=work, args=args))
            processes[-1].start()
        finished = 0
        while finished < workers:
            try:
                error = out.get(timeout=0.1)
                if error:
                    raise RuntimeError(error)
                finished += 1
            except queue.Empty:
                if any(p.exitcode not in (None, 0) for p in processes):
                    raise RuntimeError("a worker died") from None
            if progress:
                progress(sum(done))
        return {name: table.copy() for name, table in shared.items()}
    finally:
        for p in processes:
            p.kill()
            p.join()
        shared.clear()
        for m in memories:
            with contextlib.suppress(BufferError):  # a traceback may still hold an array
                m.close()
            m.unlink()
