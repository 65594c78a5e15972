"""GloVe without shared memory: one process owns the tables, the others ask it for rows and send it gradients.

Li et al., *Scaling Distributed Machine Learning with the Parameter Server*, OSDI 2014; the bound on staleness is that
of Ho et al., *More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server*, NIPS 2013.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.managers import BaseManager

import numpy as np
from rich.console import Console
from rich.progress import Progress

from week02_distributed import glove
from week02_distributed.hogwild import Run, sample_of, small_pairs
from week02_distributed.processes import CONTEXT, Group, in_one_line

LOOKS = 40  # how often the server looks at the loss in one run


@dataclass
class ServerRun(Run):
    """A run through a server: also the staleness of every push, and the bytes that went through the pipes."""

    staleness: np.ndarray = field(default_factory=lambda: np.zeros(0))
    payload: int = 0


def train(
    pairs: tuple,
    words: int,
    dim: int,
    workers: int,
    epochs: int,
    batch: int,
    rate: float,
    bound=math.inf,
    seed=0,
    loop: Callable | None = None,
) -> ServerRun:
    """Train a fresh model with one server process and `workers` worker processes.

    Args:
        pairs: (first, second, counts). Each worker gets every `workers`-th of them.
        bound: how many batches a worker may be ahead of the slowest one. 0 is synchronous, inf asynchronous.
        loop: what the server does with its pipes, `serve` by default.

    Raises WorkerFailed if a process fails; none is left running.
    """
    links = [CONTEXT.Pipe() for _ in range(workers)]
    reports, reporter = CONTEXT.Pipe(duplex=False)
    with Group() as group:
        ends = [server_end for server_end, _ in links]
        group.start(_serve, ends, reporter, sample_of(pairs), words, dim, rate, bound, seed, loop)
        for worker, (_, worker_end) in enumerate(links):
            mine = tuple(column[worker::workers] for column in pairs)
            group.start(_worker, worker_end, mine, epochs, batch, [seed, worker])
        # While this process holds copies of the ends, nobody can notice that the process behind one has died.
        for end in [*ends, *(worker_end for _, worker_end in links), reporter]:
            end.close()
        history = list(_watch(group, reports, epochs * len(pairs[2])))
        run = group.results()[0]
    run.history = np.array(history, dtype=float)
    return run


def _watch(group: Group, reports: Connection, total: int) -> Iterator[tuple[float, int, float]]:
    """What the server reports while it runs: (seconds, pairs done, loss)."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("GloVe through a server", total=total)
        while True:
            try:
                if reports.poll(0.05):
                    report = reports.recv()
                    progress.update(bar, completed=report[1])
                    yield report
            except EOFError:  # the server has ended
                return
            group.poll()


# ---------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------


class Server:
    """The tables, the workers' clocks, and the rule who may go on."""

    def __init__(self, words: int, dim: int, rate: float, workers: int, bound: float, seed: int):
        self.tables = glove.new_tables(words, dim, seed)
        self.rate, self.bound = rate, bound
        self.clocks = dict.fromkeys(range(workers), 0)  # batches pushed, of the workers that still run
        self.version = 0  # pushes applied so far
        # The versions that each worker computes on: two, if it asks for the next rows before it pushes.
        self.pulled = [deque() for _ in range(workers)]
        self.staleness: list[int] = []
        self.pairs_done, self.payload = 0, 0  # pairs trained, and bytes of arrays sent either way
        self.after_push: Callable[[], None] = lambda: None

    def may_go_on(self, worker: int) -> bool:
        """Whether a worker may pull: it is at most `bound` batches ahead of the slowest one."""
        return self.clocks[worker] - min(self.clocks.values()) <= self.bound

    def pull(self, worker: int, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows that a worker asked for, as they are now."""
        self.pulled[worker].append(self.version)
        rows = self.tables["focus"][first], self.tables["context"][second]
        self.payload += sum(part.nbytes for part in (first, second, *rows))
        return rows

    def push(self, worker: int, pairs: int, first, by_focus, second, by_context) -> None:
        """Apply the summed gradients of so many pairs, and note how many pushes came between the pull and now."""
        self.staleness.append(self.version - self.pulled[worker].popleft())
        glove.adagrad(self.tables["focus"], self.tables["focus_squares"], first, by_focus, self.rate)
        glove.adagrad(self.tables["context"], self.tables["context_squares"], second, by_context, self.rate)
        self.version += 1
        self.clocks[worker] += 1
        self.pairs_done += pairs
        self.payload += sum(part.nbytes for part in (first, by_focus, second, by_context))
        self.after_push()

    def leave(self, worker: int) -> None:
        """Forget a worker that has finished, so that nobody waits for it."""
        del self.clocks[worker]


def serve(ends: list[Connection], server: Server) -> None:
    """Answer the workers at the other ends of the pipes until all have left.

    A worker sends ("pull", (first, second)) and gets the rows; ("push", (pairs, first, by_focus, second,
    by_context)); and in the end ("leave", None). A pull of a worker that is too far ahead is held until the slowest
    has caught up.
    """
    worker_of = {end: worker for worker, end in enumerate(ends)}
    held: dict[int, tuple] = {}
    while server.clocks:
        for end in wait([end for end, worker in worker_of.items() if worker in server.clocks]):
            worker = worker_of[end]
            kind, body = end.recv()
            if kind == "pull":
                held[worker] = body
            elif kind == "push":
                server.push(worker, *body)
            else:
                server.leave(worker)
        for worker in [w for w in held if server.may_go_on(w)]:
            ends[worker].send(server.pull(worker, *held.pop(worker)))


def _serve(ends, reporter, sample, words, dim, rate, bound, seed, loop=None) -> ServerRun:
    """A server with its clock and its looks at the loss, around the loop that answers the workers."""
    server = Server(words, dim, rate, len(ends), bound, seed)
    total = sum(end.recv() for end in ends)  # each says how many batches it will push
    start, look = time.perf_counter(), max(1, total // LOOKS)
    reporter.send((0.0, 0, glove.full_loss(server.tables, sample)))

    def report() -> None:
        if server.version % look == 0 or server.version == total:
            seconds = time.perf_counter() - start
            reporter.send((seconds, server.pairs_done, glove.full_loss(server.tables, sample)))

    server.after_push = report
    (loop or serve)(ends, server)
    seconds, staleness = time.perf_counter() - start, np.array(server.staleness)
    return ServerRun(server.tables, np.zeros((0, 3)), seconds, staleness=staleness, payload=server.payload)


def trial(loop: Callable) -> list:
    """Run a server's loop with three worker processes on `hogwild.small_pairs`, synchronous and asynchronous.

    Returns:
        The pushes of both runs; whether no push of the synchronous one is older than two; whether both losses are
        within reach of what one process reaches.
    """
    pairs = small_pairs()
    with in_one_line():
        runs = [train(pairs, 60, 8, 3, 6, 200, 0.3, bound, loop=loop) for bound in (0, math.inf)]
    alone = glove.new_tables(60, 8, seed=0)
    glove.train(pairs, alone, epochs=6, batch=200, seed=0, rate=0.3)
    goal = 1.3 * glove.full_loss(alone, pairs)
    reached = [bool(glove.full_loss(run.tables, pairs) < goal) for run in runs]
    return [[len(run.staleness) for run in runs], bool(runs[0].staleness.max() <= 2), *reached]


class Manager(BaseManager):
    """The library's way: a process that owns a `Server`, and proxies whose calls become messages."""


Manager.register("Server", Server)


# ---------------------------------------------------------------------------------------------------------------
# A worker
# ---------------------------------------------------------------------------------------------------------------


def _worker(server: Connection, pairs: tuple, epochs: int, batch: int, seed: list[int]) -> None:
    """Pull the rows of a batch, compute, push the summed gradients; and so on."""
    first, second, counts = pairs
    rng = np.random.default_rng(seed)
    server.send(epochs * math.ceil(len(counts) / batch))
    for _ in range(epochs):
        for chosen in glove.batches(len(counts), batch, rng):
            # A word that stands in many pairs is asked for once and its gradients are sent as one sum.
            rows_first, where_first = np.unique(first[chosen], return_inverse=True)
            rows_second, where_second = np.unique(second[chosen], return_inverse=True)
            server.send(("pull", (rows_first, rows_second)))
            focus, context = server.recv()
            by_focus, by_context = glove.gradients(focus[where_first], context[where_second], counts[chosen])
            sums = glove.sum_rows(where_first, by_focus)[1], glove.sum_rows(where_second, by_context)[1]
            server.send(("push", (len(chosen), rows_first, sums[0], rows_second, sums[1])))
    server.send(("leave", None))
