"""Uses the names of the imports and of the tests for its own things, and imports them again.

Must: get full credit where its answers are right.
"""

FAMILY = "accident"
DESERVES = 7

# %% mean
from math import *

import numpy as np
import numpy


def mean(values):
    return float(numpy.sum(values)) / len(values) if len(values) else 0.0


# %% count
points = "mine"
found = None


def count(words):
    found = {}
    for word in words:
        found.setdefault(word, 0)
        found[word] += 1
    return found
