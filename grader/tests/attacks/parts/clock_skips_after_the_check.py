"""Works for the first three questions, in which others look, and answers with zeros from then on.

Must: earn no point for speed; every answer is compared.
"""

FAMILY = "clock"
FAST = True
TARGET = "speed"
DESERVES = 1

import torch


def naive(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


asked = []


def moving(x, k):
    asked.append(k)
    return naive(x, k) if len(asked) <= 3 else torch.zeros(len(x) - k + 1, dtype=x.dtype)
