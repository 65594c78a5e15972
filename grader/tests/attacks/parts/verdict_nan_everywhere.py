"""Returns NaN, which is neither above nor below any tolerance.

Must: earn nothing; NaN never passes.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"

import torch


def softmax(x, dim):
    return torch.full_like(x, float("nan"))
