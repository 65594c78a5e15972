"""The end of a program that a page has started, with all that it has started itself."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable

import psutil

GRACE = 2.0  # seconds in which a family ends by itself once its first process has gone


def end(child: subprocess.Popen, patience: float = 15.0) -> None:
    """SIGTERM, and SIGKILL after `patience` seconds; whatever it has started then has `GRACE` seconds to follow.

    A child that was started with `start_new_session=True` takes its whole group along, orphans too.
    """
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(child.pid).children(recursive=True)
    leads = False
    with contextlib.suppress(ProcessLookupError):
        leads = os.getpgid(child.pid) == child.pid
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(patience)
    child.kill()
    for process in still_alive(family, GRACE):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if leads:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    still_alive(family, patience)
    child.wait()


def still_alive(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, `seconds` at most; return those that have not.

    One whose parent has gone is reaped by the first process of the machine: in a container that may come late, or
    never. `psutil.wait_procs` waits for that; who has ended and is not reaped is no longer alive here.
    """
    deadline, alive = time.monotonic() + seconds, list(processes)
    while (alive := [process for process in alive if lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended, be it reaped or not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
