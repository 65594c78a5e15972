"""Work whose time is mostly memory that is taken and given back."""

import torch


def ramp(x: torch.Tensor) -> torch.Tensor:
    """Return `x` [n] with 300 times 1 added."""
    return x + 300.0
