"""A tensor in, a tensor out. The instructor's own solution: @canary:solution@."""

import torch


def softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return softmax of `x` over `dim`, finite also for large entries."""
    weights = (x - x.amax(dim, keepdim=True)).exp()
    return weights / weights.sum(dim, keepdim=True)
