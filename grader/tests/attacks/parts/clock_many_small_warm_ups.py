"""Takes very long over the first questions and is a little quicker afterwards, to shift a mean.

Must: earn no point for speed; the first pairs are not timed, and pairs are compared one by one.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import time

import torch


def naive(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


calls = []


def moving(x, k):
    calls.append(1)
    if len(calls) < 4:
        time.sleep(1)
    return naive(x, k)
