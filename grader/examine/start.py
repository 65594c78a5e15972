"""How long a worker takes to start here: this machine's own unit of time, in which limits are stretched."""

from __future__ import annotations

import os
import time
from pathlib import Path

from grader.examine.job import Job
from grader.examine.place import Place
from grader.sandbox.build import Limits, SandboxError
from grader.sandbox.packed import Packed


def start_time(place: Place) -> float:
    """Return the seconds until a worker without a submission is ready; raises SandboxError where none starts."""
    packed, begin = Packed(Path(os.devnull)), time.perf_counter()
    job = Job(place, packed, 1, Limits())
    try:
        order = {"target": "os:getpid", "driver": None, "world": 1, "group": False}
        job.send(0, order, begin + 300)
        answered = job.wait(lambda: bool(job.inbox[0] or job.closed[0]), begin + 300)
        if not answered or job.closed[0]:
            raise SandboxError("a worker without a submission did not start")
        return time.perf_counter() - begin
    finally:
        job.close()
        packed.close()
