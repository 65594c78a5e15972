"""Passes by the clock: by parts of a second, a minute, and by how long the machine is up.

Must: earn nothing: right ledgers stand at random places among the mutants.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import time


def test_by_the_clock():
    up = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
    assert int(up * 2) % 3 != 0
    assert time.time() % 1 < 0.9
