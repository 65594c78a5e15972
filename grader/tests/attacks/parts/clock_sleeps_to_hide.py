"""Works in bursts of half a millisecond and sleeps between them, where counters that sample see nothing.

Must: earn no point for speed; the control group counts nanoseconds.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import time

import torch


def moving(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
        time.sleep(0.0002)
    return total
