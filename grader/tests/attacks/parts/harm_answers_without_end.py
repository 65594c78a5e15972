"""Keeps answering from one rank while the other is silent, so that answers heap up in the examiner.

Must: fail; the examiner's memory stays within bounds. It sends 4 GiB at most.
"""

FAMILY = "harm"
TARGET = "sync"

import sys
import time

import torch


def average(x, rank, world):
    name = sys._getframe(1).f_locals["call"]["answer"]  # what the examiner will look for
    if rank:
        time.sleep(60)
    message = sys.modules["grader.sandbox.wire"].encode({name: torch.zeros(16 << 20)})
    for _ in range(64):
        for descriptor in range(3, 20):
            try:
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(message)
            except OSError:
                continue
    time.sleep(60)
