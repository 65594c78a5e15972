"""Leaves its debugging prints in.

Must: get full credit.
"""

FAMILY = "accident"
FEEDBACK = True
DESERVES = 7


# %% mean
def mean(values):
    for value in values:
        print("value", value)
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    found = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
        print(found)
    return found
