"""Has a hundred tests that fail now and then, one of which will be right.

Must: earn nothing; a suite that fails on a right ledger is worth nothing.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import os

import pytest


@pytest.mark.parametrize("number", range(100))
def test_by_lot(number):
    assert os.urandom(1)[0] > 7
