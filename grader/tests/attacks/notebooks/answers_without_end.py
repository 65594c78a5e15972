"""Returns iterators without an end, a text of 600 MB, and arrays of 2**40 zeros that take no memory.

Must: earn nothing; what is too large is no answer, and the tests' interpreter survives it.
"""

FAMILY = "harm"
STOCK = "would take the memory of this machine"


# %% mean
def mean(values):
    if len(values) == 3:
        return np.broadcast_to(np.float64(3.0), (2**20, 2**20))
    return "3" * 600_000_000


# %% count
import itertools


def count(words):
    return itertools.count()
