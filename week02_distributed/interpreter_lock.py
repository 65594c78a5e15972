"""Two kinds of work, to see what Python's interpreter lock lets run at the same time."""

import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from effdl import bench
from effdl.quiet import wait_for_quiet
from week02_distributed.processes import CONTEXT, Group

STEPS = 400_000  # of the Python loop: ten milliseconds, much longer than it takes to wake a process up
REPEATS = 12  # of the numpy sort
PATIENCE = 10  # seconds that we wait for other programs to leave the cores alone


def python_loop() -> int:
    """Work that holds the lock all the time: every step is Python."""
    total = 0
    for number in range(STEPS):
        total += number & 7
    return total


def numpy_sort() -> float:
    """Work that gives the lock back: numpy sorts in C and touches no Python object while it does."""
    values = np.random.default_rng(0).random(60_000)
    return float(sum(np.sort(values)[0] for _ in range(REPEATS)))


WORK = {"Python loop": python_loop, "NumPy sort": numpy_sort}


def twice_in_a_row(work: Callable[[], object]) -> None:
    """Two calls, one after the other."""
    work()
    work()


def two_threads(work: Callable[[], object]) -> None:
    """Two calls in two threads of this process."""
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class TwoProcesses:
    """Two worker processes that wait for the name of a piece of `WORK` and do it. Use it in a `with` block."""

    def __enter__(self) -> "TwoProcesses":
        self._group = Group()
        pipes = [CONTEXT.Pipe() for _ in range(2)]
        self._pipes = [ours for ours, _ in pipes]
        for _, theirs in pipes:
            self._group.start(_serve_work, theirs)
            theirs.close()
        self.run("NumPy sort")
        return self

    def run(self, name: str) -> None:
        """Two calls, one in each process."""
        for pipe in self._pipes:
            pipe.send(name)
        for pipe in self._pipes:
            pipe.recv()

    def __exit__(self, *exception: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._group.__exit__()


def _serve_work(pipe: Connection) -> None:
    while True:
        try:
            name = pipe.recv()
        except EOFError:  # the other end is closed: no more work
            return
        WORK[name]()
        pipe.send("done")


def compare(pairs: int) -> dict[str, bench.Comparison]:
    """Two calls of each piece of `WORK`: in a row, in two threads, in two processes; {work: Comparison}.

    Each way `pairs` times, once the cores are idle or `PATIENCE` seconds have passed. What comes out has no say in
    when the measurement ends: to repeat until a number pleases is to choose it.
    """
    found = {}
    with TwoProcesses() as two:
        for name, work in WORK.items():
            ways = {
                "in a row": lambda work=work: twice_in_a_row(work),
                "two threads": lambda work=work: two_threads(work),
                "two processes": lambda name=name: two.run(name),
            }
            wait_for_quiet(PATIENCE)
            found[name] = bench.compare(ways, pairs=pairs)
    return found


def gains(result: bench.Comparison) -> dict[str, float]:
    """How many times as fast as "in a row" each way is, by the best sample of each."""
    best = {way: min(timing.samples) for way, timing in result.timings.items()}
    return {way: best["in a row"] / seconds for way, seconds in best.items()}
