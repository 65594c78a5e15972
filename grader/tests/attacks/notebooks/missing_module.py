"""Imports a module that the machine does not have, in one answer.

Must: get full credit for the other one.
"""

FAMILY = "accident"
DESERVES = 3

# %% mean
import a_module_of_my_own_laptop


def mean(values):
    return a_module_of_my_own_laptop.mean(values)


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
