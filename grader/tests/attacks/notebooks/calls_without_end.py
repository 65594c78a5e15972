"""Loops without an end whenever it is called.

Must: be interrupted at the limit of each cell; the other answer keeps its points.
"""

FAMILY = "harm"
DESERVES = 3


# %% mean
def mean(values):
    while True:
        pass


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
