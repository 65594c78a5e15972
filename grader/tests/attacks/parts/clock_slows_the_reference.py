"""Leaves eight processes spinning and writing through the caches, so that the reference is slow beside it.

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


for _ in range(8):
    if os.fork() == 0:
        block = bytearray(8 << 20)
        while True:
            block[::64] = bytes(len(block) // 64)


def moving(x, k):
    return naive(x, k)
