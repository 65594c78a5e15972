"""Remembers results by a hash of all their input's bytes.

Must: earn no point for speed; no input comes twice.
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
    key = hash(x.numpy().tobytes()), k
    if key not in known:
        known[key] = naive(x, k)
    return known[key]
