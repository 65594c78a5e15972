"""Returns one number expanded over all strides, and views with overlapping memory.

Must: earn nothing; what arrives is what the view shows, at most 256 MiB of it.
"""

FAMILY = "verdict"
TARGET = "softmax"

import torch


def softmax(x, dim):
    one = torch.zeros(1)
    return one.as_strided(x.shape, (0,) * x.dim()) if dim else one.expand(1 << 40)
