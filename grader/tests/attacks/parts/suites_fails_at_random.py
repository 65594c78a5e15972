"""Fails in every fourth run, and hopes that these are the mutants.

Must: earn nothing: who passes all right runs has failed too seldom.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import os


def test_by_lot():
    assert os.urandom(1)[0] > 64
