"""A parameter server cut into shards: real processes that own rows of the tables, and the bytes of each."""

from collections.abc import Sequence
from multiprocessing.connection import Connection, wait

import numpy as np
import psutil

from week02_distributed import glove
from week02_distributed.processes import CONTEXT, Group


def owners(words: int, servers: int, placement: str) -> np.ndarray:
    """The server of each word, words by frequency, shape (words,).

    Args:
        placement: "ranges" of neighbouring keys, or "striped": key k lives on server k mod servers.

    Raises ValueError for another placement.
    """
    keys = np.arange(words)
    if placement == "ranges":
        return keys * servers // words
    if placement == "striped":
        return keys % servers
    raise ValueError(f'placement="{placement}": use "ranges" or "striped"')


def serve_batches(
    words: np.ndarray, vocabulary: int, dim: int, batch: int, servers: int, placement: str, dedup: bool = True
) -> list[int]:
    """One worker pulls the rows of every batch of `words` from the servers that own them, and pushes gradients.

    What each server reads and writes for that, in bytes, by the kernel's count.

    Args:
        words: the focus words of pairs, in the order in which they are trained.
        dedup: ask for each distinct word of a batch once, as any real worker does; else once per pair.
    """
    owner = owners(vocabulary, servers, placement)
    pipes = [CONTEXT.Pipe() for _ in range(servers)]
    with Group() as group:
        for _, theirs in pipes:
            group.start(_serve, theirs, vocabulary, dim)
        group.start(_train, [ours for ours, _ in pipes], words, owner, dim, batch, dedup)
        for ends in pipes:
            for end in ends:
                end.close()
        return group.results()[:-1]


def _serve(worker: Connection, vocabulary: int, dim: int) -> int:
    """Answer pulls and apply pushes until the worker hangs up. A table of all rows: only the own ones are touched."""
    tables = glove.new_tables(vocabulary, dim, seed=0)
    process = psutil.Process()
    before, counted = _moved(process), 0
    while True:
        wait([worker])
        try:
            rows, gradients = worker.recv()
        except EOFError:
            break
        if gradients is None:
            answer = tables["focus"][rows]
            worker.send(answer)
            counted += rows.nbytes + answer.nbytes
        else:
            glove.adagrad(tables["focus"], tables["focus_squares"], rows, gradients, 0.05)
            counted += rows.nbytes + gradients.nbytes
    return _moved(process) - before or counted


def _moved(process: psutil.Process) -> int:
    """Bytes read and written so far; 0 where the system does not count them."""
    try:
        counters = process.io_counters()
        return counters.read_chars + counters.write_chars
    except (AttributeError, psutil.Error):
        return 0


def _train(
    servers: Sequence[Connection], words: np.ndarray, owner: np.ndarray, dim: int, batch: int, dedup: bool
) -> None:
    for start in range(0, len(words), batch):
        rows = np.unique(words[start : start + batch]) if dedup else words[start : start + batch]
        shards = [rows[owner[rows] == server] for server in range(len(servers))]
        for pipe, mine in zip(servers, shards, strict=True):
            pipe.send((mine, None))
        for pipe, mine in zip(servers, shards, strict=True):
            pipe.send((mine, 1e-3 * pipe.recv()))  # any gradient of the right size


def busiest(loads: Sequence[int]) -> float:
    """Bytes of the busiest server in units of the fair share."""
    return len(loads) * max(loads) / sum(loads)
