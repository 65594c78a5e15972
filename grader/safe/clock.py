"""A clock over our own parsers: no text of a stranger's may keep them busy."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

_SOON = 0.001  # seconds for each block of a page that has had its time
_AGAIN = 0.1  # seconds until the next alarm, for a parser that swallows the first
_running = False  # a clock of the main thread
_left: float | None = None  # seconds for all blocks of the page that is made now


class TooLong(Exception):
    """A parser was stopped by the clock."""


def begin_page(seconds: float) -> None:
    """Give the blocks under a clock from here on, until this is called again, `seconds` together."""
    global _left
    _left = seconds


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooLong inside this block once the process has computed for `seconds`.

    Python interrupts the main thread only, between two steps and inside a regular expression. In another thread
    there is no clock: what a thread reads of a stranger, it has read in a child, see `grader.safe.apart`. A clock
    that runs already, outside of this one, stays the only one.
    """
    global _running, _left
    if _running or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        if _running:
            raise TooLong(f"{seconds:g} s of processor time")

    if _left is not None:
        seconds = min(seconds, max(_left, _SOON))
    old, started = signal.signal(signal.SIGPROF, ring), time.process_time()
    try:
        _running = True
        signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN)
        yield
    finally:
        _running = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
        if _left is not None:
            _left -= time.process_time() - started
