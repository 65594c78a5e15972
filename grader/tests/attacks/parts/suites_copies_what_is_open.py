"""Holds the ledger against a copy of the published one, in points that are left open too.

Must: earn the public point, and fail on a right ledger that chooses otherwise.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 1

from ledger import balance, highest, split


def test_against_a_copy():
    assert balance([1, 2]) == [1, 3]
    assert split(10, 3) == [4, 3, 3]
    assert highest([-5, 3]) == 3
