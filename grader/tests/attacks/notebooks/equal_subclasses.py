"""Returns a float and a dict whose own __eq__ always agrees.

Must: earn nothing; a subclass of a plain type crosses as its base.
"""

FAMILY = "verdict"
FAST = True


# %% own
class Number(float):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = float.__hash__


class Words(dict):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False


# %% mean
def mean(values):
    return Number(-1.0)


# %% count
def count(words):
    return Words(nothing=-1)
