"""A clock over our own parsers: no text of a stranger's may keep them busy."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_AGAIN = 0.1  # seconds until the next alarm, for a parser that swallows the first
_running = False  # a clock of the main thread


class TooLong(Exception):
    """A parser was stopped by the clock."""


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong inside this block once the process has computed for `seconds`.

    Python interrupts the main thread only, between two steps and inside a regular expression. In another thread
    there is no clock: what a thread reads of a stranger, it has read in a child, see `grader.safe.apart`. A clock
    that runs already, outside of this one, stays the only one.
    """
    global _running
    if _running or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        if _running:
            raise TooLong(f"{seconds:g} s of processor time")

    old = signal.signal(signal.SIGPROF, ring)
    try:
        _running = True
        signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN)
        yield
    finally:
        _running = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
