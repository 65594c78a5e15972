"""Ends the interpreter with success in the middle of the notebook (sys.exit, exit, quit).

Must: earn nothing for tests that did not run, or ran against nothing.
"""

FAMILY = "verdict"

# %% mean
import sys

sys.exit(0)


# %% count
def count(words):
    exit()
