"""Work whose time is judged."""

import torch


def moving(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the sum of every k neighbours of `x` [n], as [n - k + 1]."""
    sums = torch.cat([torch.zeros(1, dtype=x.dtype), x.cumsum(0)])
    return sums[k:] - sums[:-k]
