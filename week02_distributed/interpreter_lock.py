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

    def run(self, name: str, calls: int = 1) -> None:
        """That many calls in each of the two processes."""
        for pipe in self._pipes:
            pipe.send((name, calls))
        for pipe in self._pipes:
            pipe.recv()

    def __exit__(self, *exception: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._group.__exit__()


def _serve_work(pipe: Connection) -> None:
    while True:
        try:
            name, calls = pipe.recv()
        except EOFError:  # the other end is closed: no more work
            return
        for _ in range(calls):
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


CALLS = 4  # of the work of `amdahl`, when one process does it all


def amdahl(pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Speed-up by two processes of work of which 0, 1 or 2 of four calls must be done by one.

    Returns:
        The serial shares; the speed-ups measured, each a median over pairs; and what Amdahl's law says of them, when
        what is shared out gains what the work without a serial part gained.
    """
    serial = range(3)

    def shared(two: TwoProcesses, calls: int) -> None:
        for _ in range(calls):
            python_loop()
        two.run("Python loop", (CALLS - calls + 1) // 2)

    with TwoProcesses() as two:
        ways = {"one process": lambda: [python_loop() for _ in range(CALLS)]}
        # An odd number of calls has no half: of three calls each process does two, and `work` counts four.
        ways |= {str(calls): lambda calls=calls: shared(two, calls) for calls in serial}
        wait_for_quiet(PATIENCE)
        times = bench.compare(ways, pairs=pairs)
    work = np.array([calls + 2 * ((CALLS - calls + 1) // 2) for calls in serial])
    found = np.array([times.ratio("one process", str(calls)).value for calls in serial]) * work / CALLS
    shares = np.array(serial) / work
    return shares, found, amdahl_law(shares, found[0])


def amdahl_law(serial: np.ndarray, gain: float) -> np.ndarray:
    """Speed-up of a program whose rest, beside the serial share, runs `gain` times as fast (Amdahl 1967)."""
    return 1 / (serial + (1 - serial) / gain)
