# replaces: cooccurrence.py
# method: a key row * words + column per pair, sorted and summed with reduceat; arrays come back through pipes
import multiprocessing
from multiprocessing.connection import wait

import numpy as np


def merge(keys, counts):
    """Sum counts of equal keys."""
    if len(keys) == 0:
        return keys, counts
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(counts, starts)


def count_document(document, words, window):
    keys, counts = [], []
    for d in range(1, window + 1):
        if d >= len(document):
            break
        a, b = document[:-d], document[d:]
        ok = (a != -1) & (b != -1)
        a, b = a[ok], b[ok]
        keys += [a * words + b, b * words + a]
        counts += [np.full(2 * len(a), 1 / d)]
    return keys, counts


def worker(pipe, load, shards, words, window):
    try:
        keys, counts = [np.zeros(0, np.int64)], [np.zeros(0)]
        for shard in shards:
            for document in load(shard):
                k, c = count_document(document, words, window)
                keys.extend(k)
                counts.extend(c)
        pipe.send(merge(np.concatenate(keys), np.concatenate(counts)))
    except Exception as error:
        pipe.send(error.__class__.__name__ + ": " + str(error))


def cooccurrence(load, shards, words, window, workers):
    fork = multiprocessing.get_context("fork")
    pipes, processes = [], []
    try:
        for w in range(workers):
            here, there = fork.Pipe(duplex=False)
            process = fork.Process(
                target=worker, args=(there, load, range(w, shards, workers), words, window)
            )
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        answers = []
        while len(answers) < workers:
            for pipe in wait(pipes):
                try:
                    answer = pipe.recv()
                except EOFError:
                    raise RuntimeError("a worker died") from None
                if isinstance(answer, str):
                    raise RuntimeError(answer)
                answers.append(answer)
                pipes.remove(pipe)
    finally:
        for process in processes:
            process.terminate()
            process.join()
    keys, counts = merge(*(np.concatenate(part) for part in zip(*answers, strict=True)))
    return keys // words, keys % words, counts
