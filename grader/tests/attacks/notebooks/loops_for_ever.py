"""Loops without an end in a cell of its own.

Must: lose its own cell, cost at most the limit, and leave the others' grading alone.
"""

FAMILY = "harm"

# %% mean
while True:
    pass
