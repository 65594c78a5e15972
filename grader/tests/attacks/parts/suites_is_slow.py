"""An accident: tests that sleep longer than a run may take.

Must: earn nothing, and be stopped.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import time

from ledger import balance


def test_balance():
    time.sleep(30)
    assert balance([1]) == [1]
