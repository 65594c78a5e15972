"""The plain way, against which speed is measured. @canary:reference@ stands here."""

import torch


def moving(x: torch.Tensor, k: int) -> torch.Tensor:
    """Return the sums of k neighbours by adding k shifted copies."""
    total = torch.zeros(len(x) - k + 1, dtype=x.dtype)
    for shift in range(k):
        total += x[shift : shift + len(total)]
    return total


def ramp(x: torch.Tensor) -> torch.Tensor:
    """Return the sum one by one, each in a tensor of its own."""
    for _ in range(300):
        x = x + 1.0
    return x
