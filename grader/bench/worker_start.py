"""How long a sandboxed worker takes from a warm zygote: `python -m grader.bench.worker_start`.

Beside it, in the same run and alternating with it, the plain way: a fresh process that imports torch.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from grader.examine.examiner import Examiner
from grader.examine.job import Job
from grader.sandbox.build import Limits
from grader.sandbox.packed import Packed

WORKERS, FRESH = 50, 5


def start(examiner: Examiner, packed: Packed) -> tuple[float, float]:
    """Return the seconds until a worker is ready to be called, and those until all of it is gone again."""
    begin = time.perf_counter()
    job = Job(examiner.place, packed, 1, Limits())
    job.send(0, {"target": "os:getpid", "driver": None, "world": 1, "group": False}, begin + 60)
    if not job.wait(lambda: bool(job.inbox[0] or job.closed[0]), begin + 60) or job.closed[0]:
        raise RuntimeError("the worker did not become ready within 60 s")
    ready = time.perf_counter()
    job.close()
    return ready - begin, time.perf_counter() - begin


def fresh() -> float:
    """Return the seconds that a new process takes to import torch."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    ready, gone, plain = [], [], []
    packed = Packed(Path(os.devnull))
    with Examiner("namespaces") as examiner:
        for round_ in track(range(WORKERS), "Starting workers", transient=True):
            one, two = start(examiner, packed)
            ready.append(one)
            gone.append(two)
            if round_ % (WORKERS // FRESH) == 0:
                plain.append(fresh())
    packed.close()
    table = Table("from the request to", "median (ms)", "fastest", "slowest")
    rows = ("a worker in its sandbox, ready", ready), ("the same, and all of it gone", gone)
    for name, seconds in (*rows, ("a fresh process with torch", plain)):
        values = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, *(f"{1000 * value:.0f}" for value in values))
    console = Console()
    console.print(table)
    ratio = statistics.median(plain) / statistics.median(ready)
    console.print(f"{WORKERS} workers, {FRESH} fresh processes; {ratio:.0f} times faster.", highlight=False)


if __name__ == "__main__":
    main()
