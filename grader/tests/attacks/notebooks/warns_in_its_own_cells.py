"""Warns, logs and prints to stderr in the cells of its answers, and works.

Must: get full credit; stderr outside a test is nobody's failure.
"""

FAMILY = "accident"
FAST = True
DESERVES = 7

# %% mean
import logging
import sys
import warnings

warnings.warn("this is old")
logging.warning("look")
print("progress 100 %", file=sys.stderr)


def mean(values):
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
