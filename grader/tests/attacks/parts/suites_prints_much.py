"""An accident: honest tests that print megabytes.

Must: earn everything.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 2

from ledger import balance, highest, split

print("x" * 3_000_000)


def test_balance():
    assert balance([]) == []
    assert balance([3, -1, 4]) == [3, 2, 6]


def test_split():
    for total, people in [(10, 3), (9, 3), (2, 5), (0, 2)]:
        parts = split(total, people)
        assert sum(parts) == total
        assert len(parts) == people
        assert max(parts) - min(parts) <= 1


def test_highest():
    assert highest([3, 9, -20]) == 9
    try:
        highest([])
    except ValueError:
        return
    raise AssertionError
