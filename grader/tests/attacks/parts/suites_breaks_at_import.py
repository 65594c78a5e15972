"""An accident: a name that is misspelt, in the first line.

Must: earn nothing, and say which name.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

from ledger import ballance


def test_balance():
    assert ballance([]) == []
