"""Spins only while it is not asked, so that its own questions cost nothing and the reference's are slow.

Must: earn no point for speed; whoever is not asked is frozen.
"""

FAMILY = "clock"
TARGET = "speed"
DESERVES = 1

import os

import torch


def naive(x, k):
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


busy = torch.zeros(1, dtype=torch.int32).share_memory_()
for _ in range(20):
    if os.fork() == 0:
        import time

        while True:
            if busy[0]:
                time.sleep(0.0005)


def moving(x, k):
    busy[0] = 1
    result = naive(x, k)
    busy[0] = 0
    return result
