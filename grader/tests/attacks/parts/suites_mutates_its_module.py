"""An accident: a test replaces a function of the module, and does not put it back for the others.

Must: earn nothing: the suite fails on a right ledger too.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import ledger


def test_with_a_stand_in():
    ledger.balance = lambda amounts: ["stand-in"]
    assert ledger.balance([1]) == ["stand-in"]


def test_balance():
    assert ledger.balance([3, -1]) == [3, 2]
