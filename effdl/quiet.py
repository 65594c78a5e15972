"""A quiet machine, before something is timed; and a busy one, to see what that does."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

QUIET = 0.1
"""Share of the processors that other programs may use on a machine that counts as quiet."""


def wait_for_quiet(seconds: float = 120) -> float:
    """Wait, no longer than `seconds`, until this machine has little to do; return the share in use, 0 to 1."""
    deadline = time.monotonic() + seconds
    while (busy := psutil.cpu_percent(interval=1.0) / 100) > QUIET and time.monotonic() < deadline:
        pass
    return busy


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def spinning(count: int) -> Iterator[None]:
    """Keep ``count`` programs running that never rest."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
