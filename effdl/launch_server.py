"""What the fork server of `effdl.launch` does before it forks its first rank.

`multiprocessing`'s fork server imports this module once, and `effdl.launch_rank` after it, with torch, so that a
rank is a fork of a warm process (a few milliseconds) and not a fresh interpreter that imports torch again (two
seconds and more). This module makes sure that no process of a run can outlive the program that asked for it:

* it is the *child subreaper* (prctl(2)) of everything below it. A process that a rank started and left behind
  comes back to this server, where `effdl.launch` finds and kills it;
* when the program that started it dies, however it dies, it kills every process below it and leaves.

Both need Linux. Elsewhere `effdl.launch` kills the ranks and their children that it can still see.
"""

import ctypes
import os
import signal
import sys
import time
import warnings
from collections.abc import Collection

PR_SET_PDEATHSIG = 1  # the constants of <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36


def prctl(option: int, argument: int) -> None:
    """Call Linux's prctl(2); raise OSError where the kernel refuses, do nothing on another system."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}, {argument}): {os.strerror(error)}")


def kill_descendants(process, spare: Collection[int] = frozenset(), wait: float = 10.0) -> list[int]:
    """Kill every process below `process` (a psutil.Process), except the process ids in `spare`.

    Kills again until none is left: a process may fork between the listing and the kill. Returns the process ids
    that still live after `wait` seconds (only sleep in the kernel that no signal ends can make it non-empty).
    """
    import psutil

    give_up = time.monotonic() + wait
    while True:
        living = []
        try:
            for child in process.children(recursive=True):
                if child.pid not in spare and child.status() != psutil.STATUS_ZOMBIE:
                    living.append(child.pid)
                    child.kill()
        except psutil.NoSuchProcess:
            # One of them ended while we looked: look again, unless it was the process itself.
            if not process.is_running():
                return []
            continue
        if not living or time.monotonic() > give_up:
            return living
        time.sleep(0.005)


def _serve_only_the_living() -> None:
    """Tie this server, and all that it will fork, to the life of the process that started it."""
    import psutil

    parent = os.getppid()
    server = os.getpid()

    def parent_may_be_gone(*_):
        # The signal also comes when only the *thread* that started this server ends: then the parent is the same.
        if os.getpid() == server and os.getppid() != parent:
            kill_descendants(psutil.Process())
            os._exit(1)

    signal.signal(signal.SIGHUP, parent_may_be_gone)
    # A Ctrl-C in a terminal reaches the whole group. The parent decides what it means, also while torch loads.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    # The server reaps processes that it did not fork itself, as a subreaper must, and would warn at each.
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
    # OpenBLAS starts its threads while numpy loads, and a process with threads is not safe to fork.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


if sys.argv[0] == "-c" and "multiprocessing.forkserver" in " ".join(sys.orig_argv):
    _serve_only_the_living()
