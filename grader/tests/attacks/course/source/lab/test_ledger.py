"""Tests of a ledger, which runs in another process."""

import pytest
from ledger import balance, highest, split


### BEGIN SOLUTION
def test_balance():
    assert balance([]) == []
    assert balance([3, -1, 4]) == [3, 2, 6]


@pytest.mark.parametrize(("total", "people"), [(10, 3), (9, 3), (2, 5), (0, 2)])
def test_split(total, people):
    parts = split(total, people)
    assert sum(parts) == total
    assert len(parts) == people
    assert max(parts) - min(parts) <= 1


def test_highest():
    assert highest([3, 9, -20]) == 9
    assert highest([-4, -2]) == -2
    with pytest.raises(ValueError):
        highest([])


### END SOLUTION
