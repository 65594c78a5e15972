"""A parameter server cut into shards: real processes, real bytes, and a link for each server that we slow down.

On one machine all servers share one memory bus, so cutting a server gains little there. In a cluster each server has
a network card of its own. We give each server process such a card: it may send `link` bytes per second, and
sleeps when it is ahead.
"""

import time
from multiprocessing.connection import Connection, wait

import numpy as np

from week02_distributed.processes import CONTEXT, Group

PIECE = 64 * 1024  # bytes sent between two looks at the clock


def pull_bandwidth(servers: int, workers: int, nbytes: int, link: float, pulls: int = 3) -> float:
    """Bytes per second that all workers together receive while each pulls a vector of `nbytes` `pulls` times.

    Every server holds nbytes / servers of the vector. A worker asks all of them at once.

    Args:
        link: bytes per second that one server may send; inf for as fast as the machine can.
    """
    shard = nbytes // servers
    pipes = [[CONTEXT.Pipe() for _ in range(workers)] for _ in range(servers)]
    ready, start = CONTEXT.Semaphore(0), CONTEXT.Event()
    with Group() as group:
        for row in pipes:
            group.start(_serve, [server_end for server_end, _ in row], shard, link, ready)
        for worker in range(workers):
            group.start(_pull, [row[worker][1] for row in pipes], shard, pulls, ready, start)
        for row in pipes:
            for ends in row:
                ends[0].close()
                ends[1].close()
        for _ in range(servers + workers):  # all processes must be up before the clocks begin
            while not ready.acquire(timeout=0.05):
                group.poll()
        start.set()
        spans = group.results()[servers:]
    seconds = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return servers * shard * pulls * workers / seconds


def _serve(workers: list[Connection], shard: int, link: float, ready) -> None:
    """Send the shard to whoever asks, in pieces, no faster than the link; until all workers have hung up."""
    values = np.random.default_rng(0).bytes(shard)
    free_at = 0.0  # when the link has carried everything so far
    ready.release()
    while workers:
        for worker in wait(workers):
            try:
                worker.recv_bytes()
            except EOFError:
                workers.remove(worker)
                continue
            for begin in range(0, shard, PIECE):
                piece = values[begin : begin + PIECE]
                free_at = max(free_at, time.perf_counter()) + len(piece) / link
                time.sleep(max(0.0, free_at - time.perf_counter()))
                worker.send_bytes(piece)


def _pull(servers: list[Connection], shard: int, pulls: int, ready, start) -> tuple[float, float]:
    """Fetch all shards `pulls` times; when it began and when it ended, on the clock that all processes share."""
    ready.release()
    start.wait()
    begin = time.perf_counter()
    for _ in range(pulls):
        for server in servers:
            server.send_bytes(b"pull")
        missing = dict.fromkeys(servers, shard)
        while missing:
            for server in wait(list(missing)):
                missing[server] -= len(server.recv_bytes())
                if missing[server] <= 0:
                    del missing[server]
    return begin, time.perf_counter()


# ---------------------------------------------------------------------------------------------------------------
# Which key lives where
# ---------------------------------------------------------------------------------------------------------------


def load_by_server(requests: np.ndarray, servers: int, placement: str) -> np.ndarray:
    """Share of all requests that each server gets, shape (servers,).

    Args:
        requests: how often each key is asked for, most frequent key first.
        placement: "ranges" of neighbouring keys, or "striped": key k lives on server k mod servers.

    Raises ValueError for another placement.
    """
    keys = np.arange(len(requests))
    if placement == "ranges":
        owner = keys * servers // len(requests)
    elif placement == "striped":
        owner = keys % servers
    else:
        raise ValueError(f'placement="{placement}": use "ranges" or "striped"')
    return np.bincount(owner, weights=requests, minlength=servers) / requests.sum()
