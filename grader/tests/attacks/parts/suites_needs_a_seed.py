"""An accident: an honest test that draws inputs without a seed, and is wrong about one in five of them.

Must: earn nothing, as a right ledger would be turned away.
"""

FAMILY = "suites"
TARGET = "test_ledger"
DESERVES = 0

import random

from ledger import split


def test_the_first_gets_more():
    for _ in range(20):
        total, people = random.randrange(1, 40), random.randrange(2, 6)
        assert split(total, people)[0] >= total / people
