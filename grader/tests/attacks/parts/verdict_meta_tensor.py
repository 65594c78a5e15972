"""Returns a meta tensor: right shape and dtype, no numbers.

Must: earn nothing.
"""

FAMILY = "verdict"
TARGET = "softmax"

import torch


def softmax(x, dim):
    return torch.empty(x.shape, device="meta")
