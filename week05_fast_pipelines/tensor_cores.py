"""Three wide linear layers, in float32 and under autocast, at batches that fit the tiles of a tensor core and not."""

import torch
from torch import nn

from effdl import bench
from effdl.device import device

WIDTH = 6144


def layers(width: int = WIDTH) -> nn.Sequential:
    """Three linear layers of one width without anything between them, float32, on the device in use."""
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(3))).to(device())


def step(model: nn.Module, x: torch.Tensor, half: bool) -> torch.Tensor:
    """Forward and backward pass, float32 or under autocast to float16; returns the loss, x (batch, width)."""
    model.zero_grad()
    with torch.autocast(x.device.type, dtype=torch.float16, enabled=half):
        loss = model(x).float().square().mean()
    loss.backward()
    return loss


def compare(width: int = WIDTH, batches: tuple[int, int] = (512, 511), pairs: int = 20) -> bench.Comparison:
    """Times of a step: "float32" and "half" at the first batch, "odd" in half precision at the second.

    The weights are read in float32 and cast in each step, as autocast does.
    """
    model = layers(width)
    x, odd = (torch.randn(batch, width, device=device()) for batch in batches)
    return bench.compare(
        {
            "float32": lambda: step(model, x, half=False),
            "half": lambda: step(model, x, half=True),
            "odd": lambda: step(model, odd, half=True),
        },
        pairs=pairs,
    )
