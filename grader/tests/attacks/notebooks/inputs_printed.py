"""Prints the arguments of every call, which hidden tests make too.

Must: learn nothing; feedback shows no output of a cell that has hidden tests.
"""

FAMILY = "secrets"
FAST = True
DESERVES = 7


# %% mean
def mean(values):
    print("called with", values)
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    print("called with", list(words))
    return {word: list(words).count(word) for word in words}
