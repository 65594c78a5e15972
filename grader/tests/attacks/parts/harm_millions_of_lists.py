"""Answers with a million empty lists.

Must: fail with a sentence, within bounds of memory and time.
"""

FAMILY = "harm"
TARGET = "words"


def count(text):
    return [[] for _ in range(1_000_000)]
