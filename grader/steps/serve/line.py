"""The line of those who wait: one run of a student's at a time, so many an hour, so many bytes in all."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

MOST_WAITING = 500  # runs
MOST_BYTES = 2 << 30  # of uploads that wait
KEPT = 2000  # runs that have ended, whose tables can still be read
HOUR = 3600.0


class Full(Exception):
    """No place in the line; the sentence says why. `again`: in how many seconds to try; `status`: of HTTP."""

    def __init__(self, says: str, status: int, again: int):
        super().__init__(says)
        self.status, self.again = status, again


@dataclass(eq=False)
class Run:
    """One upload of a student's, and what became of it."""

    student: str
    assignment: str
    upload: Path
    size: int  # bytes
    name: str = field(default_factory=lambda: secrets.token_hex(16))
    state: str = "waiting"  # running, done
    table: str = ""
    passed: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class Line:
    """Runs in order of arrival, taken by `jobs` threads. Lives in memory: after a restart students push again."""

    def __init__(self, work: Callable[[Run], tuple[str, bool]], *, jobs: int, per_hour: int):
        """`work(run)` returns the table and whether every check passed; what it raises is the grader's problem."""
        self._work, self._per_hour = work, per_hour
        self._changed = threading.Condition()
        self._waiting: deque[Run] = deque()
        self._busy: dict[str, Run] = {}  # by student: what waits or runs
        self._uploading: set[str] = set()
        self._times: dict[str, deque[float]] = {}
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._open = True
        self._threads = [
            threading.Thread(target=self._take, name=f"grading {at}", daemon=True) for at in range(jobs)
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def uploading(self, student: str) -> Iterator[None]:
        """While this student's upload is read; raises Full, before it is, where it would find no place."""
        with self._changed:
            if student in self._uploading:
                raise Full("another upload of yours is under way; wait for it", 409, 10)
            self._require_room(student, 0)
            self._uploading.add(student)
        try:
            yield
        finally:
            with self._changed:
                self._uploading.discard(student)

    def enter(self, run: Run) -> int:
        """Put a run into the line; return how many are before it. Raises Full."""
        with self._changed:
            self._require_room(run.student, run.size)
            self._times.setdefault(run.student, deque()).append(time.monotonic())
            self._busy[run.student] = self._runs[run.name] = run
            self._waiting.append(run)
            while len(self._runs) > KEPT and next(iter(self._runs.values())).state == "done":
                self._runs.popitem(last=False)
            self._changed.notify()
            return len(self._waiting) - 1

    def find(self, name: str, student: str) -> tuple[Run, int] | None:
        """Return a student's run and how many are before it; None where it is another's or not there."""
        with self._changed:
            run = self._runs.get(name)
            if run is None or run.student != student:
                return None
            return run, self._waiting.index(run) if run in self._waiting else 0

    def close(self) -> None:
        """Take no more; what runs ends."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _require_room(self, student: str, size: int) -> None:
        if (busy := self._busy.get(student)) is not None:
            raise Full(f"your run {busy.name} is {busy.state}; wait for its table", 409, 10)
        times, now = self._times.get(student, deque()), time.monotonic()
        while times and now - times[0] > HOUR:
            times.popleft()
        if len(times) >= self._per_hour:
            again = int(HOUR - (now - times[0])) + 1
            raise Full(f"{self._per_hour} runs an hour are yours; the next one in {again} s", 429, again)
        if len(self._waiting) >= MOST_WAITING or sum(run.size for run in self._waiting) + size > MOST_BYTES:
            raise Full("too many wait; push again in a few minutes", 503, 300)

    def _take(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
                run = self._waiting.popleft()
                run.state = "running"
            try:
                run.table, run.passed = self._work(run)
            except Exception:
                # One upload that trips the grader must not stop the class.
                log.exception("%s, run %s could not be examined", run.student, run.name)
                run.table = f"Your work could not be examined. Tell your instructor: run {run.name}.\n"
            finally:
                run.upload.unlink(missing_ok=True)
            with self._changed:
                run.state = "done"
                del self._busy[run.student]
            run.ended.set()
