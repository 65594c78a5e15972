"""Adds a cell with a helper, which its answers need.

Must: get full credit.
"""

FAMILY = "accident"
DESERVES = 7


# %% own
def total(values):
    return sum(values)


SEEN = {}


# %% mean
def mean(values):
    return total(values) / len(values) if values else 0.0


# %% count
def count(words):
    SEEN.clear()
    for word in words:
        SEEN[word] = SEEN.get(word, 0) + 1
    return dict(SEEN)
