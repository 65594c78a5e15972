"""Answers with callable objects and a generator inside, instead of plain functions.

Must: get full credit.
"""

FAMILY = "accident"
DESERVES = 7


# %% mean
class Mean:
    def __init__(self):
        self.calls = 0

    def __call__(self, values):
        self.calls += 1
        return float(sum(value for value in values)) / len(values) if values else 0.0


mean = Mean()

# %% count
from functools import partial


def count_in(letters_too, words):
    return {word: sum(1 for other in words if other == word) for word in words}


count = partial(count_in, False)
