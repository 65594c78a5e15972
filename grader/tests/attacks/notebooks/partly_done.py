"""Answers one question, leaves the other as it was handed out.

Must: get full credit for the one.
"""

FAMILY = "accident"
DESERVES = 4


# %% mean
def mean(values):
    return sum(values) / len(values) if values else 0.0
