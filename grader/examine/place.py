"""Where jobs run, and what this machine offers to confine and to measure them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from grader.examine.cards import Cards
from grader.examine.turns import Turns
from grader.sandbox.cgroup import Cgroups, Usage
from grader.sandbox.zygote import Zygote

# Seconds in which a worker without a submission starts, at the most, where limits on time hold as they are written.
# Where it takes longer they grow with it, so many times at most: see `Place.stretch`.
START = 0.1
MOST_STRETCH = 20.0


T = TypeVar("T")


class Endable(Protocol):
    """A job, as far as a place must know it."""

    def end(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class Place:
    """Where jobs run: the zygote, and what this machine offers to confine and to measure them."""

    zygote: Zygote
    isolated: bool
    cgroups: Cgroups | None
    start_time: Callable[[Place], float]  # seconds until a worker without a submission is ready
    readonly: list[str] = field(default_factory=list)
    cards: Cards | None = None  # this machine's GPUs, looked for when the first part asks for one
    turns: Turns | None = None  # of the submissions that may run at once, where their number is limited
    _seen: threading.local = field(default_factory=threading.local)  # by the thread that judges a submission
    _undertaker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))
    _closing: list[Future] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)  # of the list, and of the GPUs
    _stretch: float = 0.0  # 0 until it was measured
    _measuring: threading.RLock = field(default_factory=threading.RLock)

    @property
    def lost(self) -> int:
        """How many jobs of this thread lost a worker to a kill that was neither ours nor the memory limit's."""
        return getattr(self._seen, "lost", 0)

    @property
    def stretch(self) -> float:
        """By how much limits on time are longer here than written: 1, or more on a slow machine. Measured once.

        A limit must end what hangs and nothing else, and no author of a check knows the machine. The median of
        three starts, in which nothing of a submission runs, is this machine's own unit. Raises SandboxError where
        no worker starts.
        """
        with self._measuring:
            if not self._stretch:
                self._stretch = 1.0  # for the jobs that measure it
                try:
                    self.start_time(self)  # the first one is cold
                    middle = sorted(self.start_time(self) for _ in range(3))[1]
                    self._stretch = min(MOST_STRETCH, max(1.0, middle / START))
                except BaseException:
                    self._stretch = 0.0
                    raise
        return self._stretch

    def gpus(self) -> Cards:
        """Return this machine's GPUs; raises SandboxError where there are none."""
        with self._lock:
            self.cards = self.cards or Cards()
            return self.cards

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until one more submission may run; it does until the block ends.

        Raises SandboxError where grading has been stopped meanwhile.
        """
        if self.turns is None:
            yield
            return
        started = time.perf_counter()
        with self.turns:
            self._seen.waited = getattr(self._seen, "waited", 0.0) + time.perf_counter() - started
            yield

    def take_waited(self) -> float:
        """Return how many seconds this thread has waited for its turns since it was last asked."""
        waited = getattr(self._seen, "waited", 0.0)
        self._seen.waited = 0.0
        return waited

    def undisturbed(self, run: Callable[[], T], tries: int) -> tuple[T, int, bool]:
        """Call `run()` until one call lost no worker to a kill that was neither ours nor the memory limit's.

        Returns what the last of at most `tries` calls gave, how many went before it, and whether it was undisturbed.
        """
        again = 0
        while True:
            lost = self.lost
            found = run()
            undisturbed = self.lost == lost
            if undisturbed or again + 1 >= tries:
                return found, again, undisturbed
            again += 1

    def together(self, *runs: Callable[[], T]) -> list[T]:
        """Return what these calls return, as many at once as there are cores, all on this thread's account."""

        def one(run: Callable[[], T]) -> tuple[T, int, int]:
            before = self.lost
            return run(), self.lost - before, self.take_peak_memory()

        with ThreadPoolExecutor(cores()) as pool:
            found = list(pool.map(one, runs))
        self._seen.lost = self.lost + sum(lost for _, lost, _ in found)
        self._seen.peak = max(getattr(self._seen, "peak", 0), *(peak for _, _, peak in found))
        return [value for value, _, _ in found]

    def take_peak_memory(self) -> int:
        """Return the largest peak memory, in bytes, of this thread's jobs since it was last asked; 0 if unknown."""
        peak = getattr(self._seen, "peak", 0)
        self._seen.peak = 0
        return peak

    def close_later(self, *jobs: Endable) -> None:
        """End these jobs now, and give back what they held while the caller goes on: processes take time to die.

        Raises what an earlier call found out too late, such as CgroupError for processes that cannot be killed.
        """
        for job in jobs:
            job.end()
        with self._lock:
            waiting = [*self._closing, *(self._undertaker.submit(job.close) for job in jobs)]
            done = [future for future in waiting if future.done()]
            self._closing = [future for future in waiting if future not in done]
        for future in done:
            future.result()

    def close(self) -> None:
        """Wait for every job that ends."""
        for future in self._closing:
            future.result()
        self._undertaker.shutdown()

    def note_end(self, was_killed: bool, usage: Usage | None) -> None:
        """Count a job of this thread that ends."""
        self._seen.lost = self.lost + was_killed
        self._seen.peak = max(getattr(self._seen, "peak", 0), (usage and usage.peak_memory) or 0)


def cores() -> int:
    """Return how many cores this process may use: a container or taskset(1) leaves it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sweep_scratch() -> None:
    """Delete the folders that examiners without isolation left behind when they were killed."""
    for folder in Path(tempfile.gettempdir()).glob("grader-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and _is_gone(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
