"""A benchmark function with every step of the seminar in it, and a fake machine that checks such functions.

The fake machine has a clock that only moves when work is done, so a benchmark's answer on it is known to the
last digit: nothing is timed, and the check gives the same verdict on every computer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from effdl import device


@dataclass(frozen=True)
class Stats:
    """What a benchmark reports. All times are in seconds per call."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    samples: tuple[float, ...]


def benchmark(
    fn: Callable[[], Any],
    warmup: int = 3,
    iters: int = 20,
    clock: Callable[[], float] = time.perf_counter,
    synchronize: Callable[[], None] = device.synchronize,
) -> Stats:
    """Time ``iters`` calls of ``fn`` one by one, after ``warmup`` calls that are not timed.

    The device is idle whenever the clock is read. Raises ValueError if iters < 1 or warmup < 0.
    """
    if iters < 1 or warmup < 0:
        raise ValueError(f"benchmark() needs iters >= 1 and warmup >= 0, not iters={iters}, warmup={warmup}")
    for _ in range(warmup):
        fn()
    samples = []
    for _ in range(iters):
        synchronize()
        start = clock()
        fn()
        synchronize()
        samples.append(clock() - start)
    low, median, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return Stats(float(median), float(low), float(high), tuple(samples))


LAUNCH, KERNEL = 0.001, 0.007
"""Seconds of the fake machine's launch and of its kernel when warm."""


class FakeMachine:
    """An asynchronous device with virtual time, on which every duration is known.

    ``cold`` calls at the start take ten times as long, and so does every ``slow_every``-th call (0: none).
    ``queued`` seconds of somebody else's work are in the queue when the benchmark begins.
    """

    def __init__(self, cold: int = 0, slow_every: int = 0, queued: float = 0.0) -> None:
        self.now = 100.0
        self.busy_until = self.now + queued
        self.calls = 0
        self.cold, self.slow_every = cold, slow_every

    def clock(self) -> float:
        """Virtual seconds."""
        return self.now

    def call(self) -> None:
        """The function to be timed: costs a launch now, and a kernel in the queue."""
        self.calls += 1
        slow = self.calls <= self.cold or (self.slow_every and self.calls % self.slow_every == 0)
        self.now += LAUNCH
        self.busy_until = max(self.busy_until, self.now) + KERNEL * (10 if slow else 1)

    def synchronize(self) -> None:
        """Wait for the queue: the clock jumps to the end of the last kernel."""
        self.now = max(self.now, self.busy_until)


MACHINES = {
    "asynchronous launches": {},
    "three cold calls": {"cold": 3},
    "every fifth call is slow": {"slow_every": 5},
    "50 ms of other work queued": {"queued": 0.05},
}


def on_fake_machine(candidate: Callable[..., Stats], machine: str, what: str) -> float | int:
    """Run ``candidate(fn, warmup=3, iters=10, clock=..., synchronize=...)`` on one of MACHINES.

    ``what`` says which number to return: "median", "low", "high", "first sample", "samples" (how many) or
    "calls" (how often the function was called). Times are in milliseconds.
    """
    fake = FakeMachine(**MACHINES[machine])
    stats = candidate(fake.call, warmup=3, iters=10, clock=fake.clock, synchronize=fake.synchronize)
    if what == "calls":
        return fake.calls
    if what == "samples":
        return len(stats.samples)
    seconds = stats.samples[0] if what == "first sample" else getattr(stats, what)
    return round(float(seconds) * 1e3, 6)


TRUE_MS = round((LAUNCH + KERNEL) * 1e3, 6)
SPECIFICATION = [
    (("asynchronous launches", "median"), TRUE_MS),
    (("asynchronous launches", "samples"), 10),
    (("asynchronous launches", "calls"), 13),
    (("three cold calls", "high"), TRUE_MS),
    (("every fifth call is slow", "median"), TRUE_MS),
    (("every fifth call is slow", "low"), TRUE_MS),
    (("50 ms of other work queued", "first sample"), TRUE_MS),
]
"""Cases for effdl.notebook.check_exercise: (machine, number), specified value; times in milliseconds."""
