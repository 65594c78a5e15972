"""Raises SystemExit from a property and from __eq__, where a test would look.

Must: earn nothing; an exception of any kind in a test is a failed test.
"""

FAMILY = "verdict"


# %% mean
class Trap:
    @property
    def __class__(self):
        raise SystemExit(0)

    def __eq__(self, other):
        raise SystemExit(0)

    __hash__ = None

    def __array__(self, *_, **__):
        raise GeneratorExit

    def __float__(self):
        raise KeyboardInterrupt


def mean(values):
    return Trap()


# %% count
def count(words):
    return Trap()
