"""Prints to stderr whenever it is called, as a progress bar does.

Must: get what stock nbgrader gives, nothing for tests in which it warned, and the instructor reads why.
"""

FAMILY = "accident"
FAST = True
DESERVES = 3
SAYS = "printed to stderr"

# %% mean
import sys


def mean(values):
    print("100 %", file=sys.stderr)
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
