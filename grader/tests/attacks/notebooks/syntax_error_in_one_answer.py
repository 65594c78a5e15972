"""Has a syntax error in one answer and a right other one.

Must: get full credit for the right one.
"""

FAMILY = "accident"
FAST = True
DESERVES = 3


def edit(notebook, cells):
    cells["mean"]["source"] = "def mean(values)\n    return sum(values) / len(values)"


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
