"""Answers on rank 0 and kills rank 1 by way of the process group, blaming it.

Must: earn nothing, and the rank that broke is named.
"""

FAMILY = "verdict"
TARGET = "sync"

import os

import torch.distributed as dist


def average(x, rank, world):
    dist.all_reduce(x)
    x /= world
    if rank == 1:
        os.kill(os.getpid(), 9)
