"""Returns arrays of no elements, which agree with every number: all of nothing is true.

Must: earn nothing.
"""

FAMILY = "verdict"
FAST = True


# %% mean
def mean(values):
    return np.empty(0)


# %% count
def count(words):
    return np.empty(0)
