"""Puts a tensor into its dictionary, whose comparison with a number has many truths at once.

Must: earn nothing and get a sentence.
"""

FAMILY = "verdict"
FAST = True
TARGET = "words"

import torch


def count(text):
    found = dict.fromkeys(text.lower().split(), 1)
    return {word: torch.tensor([1, 2]) for word in found}
