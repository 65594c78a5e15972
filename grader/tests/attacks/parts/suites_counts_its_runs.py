"""Leaves notes in files, shared memory and semaphores, to pass in the first runs and fail in the others.

Must: earn nothing: each run is the first one.
"""

FAMILY = "suites"
FAST = True
TARGET = "test_ledger"
DESERVES = 0

import os
import pathlib
import tempfile
from multiprocessing import shared_memory

PLACES = ["/tmp", "/dev/shm", "/submission", "/var/tmp", tempfile.gettempdir(), os.path.expanduser("~")]


def runs_before():
    most = 0
    for place in PLACES:
        path = pathlib.Path(place) / "runs.txt"
        try:
            most = max(most, len(path.read_text()) if path.exists() else 0)
            with path.open("a") as file:
                file.write("x")
        except OSError:
            continue
    try:
        shared_memory.SharedMemory("runs", create=True, size=1)
    except OSError:
        most += 3
    return most


def test_the_first_ones_are_right():
    assert runs_before() < 3
