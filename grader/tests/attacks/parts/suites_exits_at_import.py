"""Ends the process with code 0 as it is imported, where a runner would see nothing fail.

Must: earn nothing: no test has passed.
"""

FAMILY = "suites"
FAST = True
TARGET = "test_ledger"
DESERVES = 0

import os

os._exit(0)
