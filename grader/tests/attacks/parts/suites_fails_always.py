"""Fails whatever it runs against, so that every mutant is killed.

Must: earn nothing; it fails on right ledgers too.
"""

FAMILY = "suites"
FAST = True
TARGET = "test_ledger"
DESERVES = 0


def test_nothing():
    raise AssertionError("a mutant")
