"""Replaces int and sum in builtins for everybody.

Must: earn nothing; the tests have builtins of their own.
"""

FAMILY = "verdict"

# %% count
import builtins


class Three(int):
    def __repr__(self):
        return "3"


three = Three(3)


def count(words):
    return None


def int_of_three(*_):
    return three


builtins.sum = builtins.int = int_of_three
