"""Holds the ledger against code of its own, on random inputs: differential testing, which is allowed.

Must: earn everything, since it compares only what is not left open.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 2

import random

from ledger import balance, highest, split


def own_balance(amounts):
    return [sum(amounts[: place + 1]) for place in range(len(amounts))]


def test_against_my_own():
    pick = random.Random(1)
    for _ in range(30):
        amounts = [pick.randrange(-9, 9) for _ in range(pick.randrange(1, 6))]
        total, people = pick.randrange(50), pick.randrange(1, 7)
        assert balance(amounts) == own_balance(amounts)
        assert sorted(split(total, people)) == sorted((total + place) // people for place in range(people))
        assert highest(amounts) == sorted(amounts)[-1]
