"""Computes on rank 0 only and leaves the others as they were.

Must: earn nothing; every rank's result is compared.
"""

FAMILY = "verdict"
TARGET = "sync"

import torch.distributed as dist


def average(x, rank, world):
    dist.reduce(x, 0)
    x /= world
