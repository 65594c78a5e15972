"""Answers with a tensor of 10 GiB that needs no memory, and one just below what a message may hold.

Must: fail with a sentence.
"""

FAMILY = "harm"
TARGET = "softmax"

import torch


def softmax(x, dim):
    if x.dim() == 2:
        return torch.zeros(1).expand(1 << 31)
    return torch.zeros(63 << 20)
