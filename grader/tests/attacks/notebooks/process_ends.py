"""Ends its process with os._exit(0) when the first test calls.

Must: earn nothing; a test without an end has not passed.
"""

FAMILY = "verdict"
FAST = True

# %% mean
import os


def mean(values):
    os._exit(0)
