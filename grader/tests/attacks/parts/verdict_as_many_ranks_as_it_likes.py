"""Returns a list of the right tensor where the tensor is asked for, as if it had been run on so many ranks.

Must: earn nothing; only the examiner's own lists stand for ranks.
"""

FAMILY = "verdict"
FAST = True
TARGET = "softmax"
DESERVES = 0

import torch


def softmax(x, dim):
    return [torch.softmax(x, dim)] * 2
