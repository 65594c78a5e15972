"""Keeps a pool of processes that compute while it waits, which cost the process that answers no time.

Must: earn no point for speed; the processor time of the whole job counts.
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


def moving(x, k):
    size = len(x) - k + 1
    shared = torch.zeros(size, dtype=x.dtype).share_memory_()
    children = []
    for at in range(0, size, size // 4 + 1):
        child = os.fork()
        if child == 0:
            piece = naive(x[at : at + size // 4 + k], k)
            shared[at : at + len(piece)] = piece
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return shared.clone()
