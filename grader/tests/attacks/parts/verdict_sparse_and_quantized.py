"""Returns sparse and quantized tensors, whose comparison many helpers get wrong.

Must: earn nothing; only dense tensors cross.
"""

FAMILY = "verdict"
TARGET = "softmax"

import torch


def softmax(x, dim):
    if x.dim() == 2:
        return torch.zeros_like(x).to_sparse()
    return torch.quantize_per_tensor(torch.zeros_like(x), 1e9, 0, torch.quint8)
