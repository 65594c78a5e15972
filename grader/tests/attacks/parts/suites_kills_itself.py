"""Kills its own process in every third run, by a signal, to have these runs again.

Must: earn nothing, however often it is tried.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import os
import signal


def test_by_lot():
    lot = os.urandom(1)[0]
    if lot < 60:
        os.kill(os.getpid(), signal.SIGKILL)
    assert lot > 120
