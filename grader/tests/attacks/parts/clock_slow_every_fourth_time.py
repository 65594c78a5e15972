"""Is fast in three calls of four and many times slower than the reference in the fourth, which a median does not see.

Must: earn no point for speed; the sum of all calls counts too.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import torch

calls = 0


def moving(x, k):
    global calls
    calls += 1
    if calls % 4 == 0:
        for _ in range(6):
            total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
            for shift in range(k):
                total += x[shift : shift + len(total)]
    sums = torch.cat([torch.zeros(1, dtype=x.dtype), x.cumsum(0)])
    return sums[k:] - sums[:-k]
