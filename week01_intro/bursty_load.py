"""A noisy neighbour: child processes that compute in random bursts on the cores where you measure.

The burst lengths (20 to 200 ms, as long a rest) are those of a shared server: someone compiles, a cron job
wakes, a data loader refills its queue.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

SHORTEST, LONGEST = 0.02, 0.2
"""Seconds: the range from which bursts and rests are drawn."""


@contextmanager
def loaded_cores(count: int = 2, seed: int = 0, children_per_core: int = 1) -> Iterator[None]:
    """Run the body on ``count`` cores while ``children_per_core`` times as many children disturb the same cores.

    The calling thread is pinned to the cores (Linux), so that a large machine is as loaded as a small one,
    and PyTorch uses one thread. Both are undone, and every child has ended, when the body is left.
    """
    import torch

    can_pin = hasattr(os, "sched_setaffinity")
    before, threads = (os.sched_getaffinity(0) if can_pin else None), torch.get_num_threads()
    torch.set_num_threads(1)
    children: list[subprocess.Popen] = []
    try:
        if before:
            # Children inherit the mask.
            os.sched_setaffinity(0, sorted(before)[:count])
        one_thread = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        for child in range(count * children_per_core):
            command = [sys.executable, __file__, str(seed + child), str(os.getpid())]
            children.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=one_thread))
        for process in children:
            # The child says when it has imported NumPy and starts.
            if not process.stdout.readline():
                raise RuntimeError(f"a load child ended at once, with exit status {process.wait()}")
        yield
    finally:
        for process in children:
            process.kill()
            process.communicate()
        torch.set_num_threads(threads)
        if before:
            os.sched_setaffinity(0, before)


def disturb(seed: int, parent: int) -> None:
    """Alternate bursts of matrix products and memory sweeps with rests, until the parent process is gone."""
    import numpy as np

    draw = random.Random(seed).uniform
    matrix, memory = np.random.default_rng(seed).random((256, 256)), np.ones(4_000_000)
    print("ready", flush=True)
    while os.getppid() == parent:
        end = time.perf_counter() + draw(SHORTEST, LONGEST)
        while time.perf_counter() < end:
            matrix @ matrix
            memory += 1
        time.sleep(draw(SHORTEST, LONGEST))


if __name__ == "__main__":
    disturb(int(sys.argv[1]), int(sys.argv[2]))
