"""Remembers results by the address of their input's memory.

Must: earn no point for speed; every question comes with numbers of its own, and each answer is compared.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import torch


def naive(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


known = {}


def moving(x, k):
    return known.setdefault((x.data_ptr(), len(x)), naive(x, k))
