"""Softmax over rows, for an exercise: what a version computes, the memory it takes, and what its blocks are worth."""

from collections.abc import Callable

import torch

from effdl import bench
from effdl.device import device
from week01_intro.allocator import RecordAllocations

LARGEST = 2**20
"""Bytes of the largest tensor that the exercise allows on the way."""

SHAPES = {"long rows": (64, 2**18), "many rows": (5000, 300), "one row": (1, 7), "large numbers": (40, 50)}
SPECIFICATION = [((name,), "right, in blocks") for name in SHAPES]
"""Cases for effdl.notebook.check_exercise: (name of a shape), what facts() says."""

Softmax = Callable[[torch.Tensor, torch.Tensor], object]


def facts(candidate: Softmax, name: str) -> str:
    """Say of ``candidate(x, out)`` whether ``out`` holds the softmax of each row, and how large its tensors are."""
    x = torch.randn(SHAPES[name], generator=torch.Generator().manual_seed(0))
    if name == "large numbers":
        x *= 1000
    out = torch.full_like(x, torch.nan)
    with RecordAllocations() as recorder:
        candidate(x, out)
    largest = max((size for event, _, size in recorder.close() if event == "malloc"), default=0)
    difference = (out - torch.softmax(x, dim=1)).abs().max().item()
    if not difference <= 1e-6:
        return f"differs from torch.softmax by {difference:.2g}"
    return "right, in blocks" if largest <= LARGEST else f"right, by a tensor of {largest:,} bytes"


def in_steps(x: torch.Tensor) -> torch.Tensor:
    """Softmax of each row, one operation at a time over the whole tensor."""
    raised = (x - x.max(dim=1, keepdim=True).values).exp()
    return raised / raised.sum(dim=1, keepdim=True)


def compare(candidate: Softmax, pairs: int, rows: int = 2048, columns: int = 2048) -> bench.Comparison:
    """Time a version beside whole steps and beside PyTorch's kernel, on float32 numbers of shape (rows, columns)."""
    x = torch.randn(rows, columns, device=device())
    out = torch.empty_like(x)
    ways = {
        "in steps": lambda: in_steps(x),
        "yours": lambda: candidate(x, out),
        "torch.softmax": lambda: torch.softmax(x, dim=1),
    }
    return bench.compare(ways, pairs=pairs)
