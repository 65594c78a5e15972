"""Who is being graded, for how long, how fast it goes and how much is left."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

if TYPE_CHECKING:
    from grader.book.results import Graded

_WINDOW = 50  # results that the rate is taken over: late submissions are seldom like early ones
_LINES_EVERY = 10.0  # seconds between lines where there is no terminal


class Board:
    """A live table on a terminal, plain lines elsewhere. Use it as a context manager; thread-safe."""

    def __init__(self, title: str, console: Console):
        """Show `title` on `console` until the block ends."""
        self._title, self._console = title, console
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}  # student -> when it began
        self._times: deque[float] = deque(maxlen=_WINDOW)
        self._done = self._total = self._reused = self._failed = 0
        self._said = self._started = time.monotonic()
        self._live = Live(get_renderable=self.picture, console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def begins(self, student: str) -> None:
        """Say that the work on a submission begins."""
        with self._lock:
            self._running[student] = time.monotonic()

    def done(self, graded: Graded, done: int, total: int) -> None:
        """Say that a result is recorded, and how many are of how many."""
        with self._lock:
            self._running.pop(graded.student, None)
            self._done, self._total = done, total
            self._reused += graded.unchanged
            self._failed += bool(graded.error)
            # What was not run says nothing of how long the rest takes.
            if not graded.unchanged:
                self._times.append(time.monotonic())
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._said > _LINES_EVERY or done == total):
            self._said = now
            self._console.print(f"{self._title}: {self.line()}", highlight=False, markup=False)

    def line(self) -> str:
        """Return how far it is, at which rate, and how long the rest will take."""
        parts = [f"{self._done} of {self._total}"]
        if rate := self._rate():
            parts.append(f"{rate:.1f} a second" if rate >= 1 else f"one in {1 / rate:.1f} s")
            if left := (self._total - self._done) / rate:
                parts.append(f"{_duration(left)} left")
        if self._reused:
            parts.append(f"{self._reused} unchanged")
        if self._failed:
            parts.append(f"{self._failed} could not be graded")
        return ", ".join(parts)

    def _rate(self) -> float:
        if len(self._times) < 2:
            return 0.0
        seconds = max(self._times[-1], time.monotonic()) - self._times[0]
        return (len(self._times) - 1) / seconds if seconds > 0 else 0.0

    def picture(self) -> Group:
        """Return what a terminal shows now."""
        with self._lock:
            now = time.monotonic()
            if not self._total:
                return Group(f"{escape(self._title)}: starting, {now - self._started:.0f} s")
            running = sorted(self._running.items(), key=lambda entry: entry[1])
            table = Table.grid(padding=(0, 2))
            for student, began in running[:10]:
                table.add_row(f"  {escape(student)}", f"{now - began:.1f} s")
            if len(running) > 10:
                table.add_row(f"  and {len(running) - 10} more", "")
            bar = ProgressBar(total=self._total, completed=self._done, width=40)
            return Group(f"{escape(self._title)}: {self.line()}", bar, table)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes}:{seconds:02d} min"
