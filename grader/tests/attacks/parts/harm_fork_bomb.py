"""Forks without end, at most 2,000 times, and every child forks on.

Must: stop at the process limit; the neighbour keeps working and nothing is left.
"""

FAMILY = "harm"
TARGET = "words"

import os
import time


def count(text):
    end = time.monotonic() + 4
    for _ in range(2000):
        try:
            os.fork()
        except OSError:
            pass
        if time.monotonic() > end:
            break
    time.sleep(30)
