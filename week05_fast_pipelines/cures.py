"""The parts of `slow_training` as one writes them today, mostly by calling what PyTorch and Python ship."""

import json
import logging.handlers
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from week05_fast_pipelines.slow_training import SLOW, VOCABULARY, Parts

NUMBERS = np.full(256, len(VOCABULARY) - 1)
NUMBERS[[ord(character) for character in VOCABULARY]] = np.arange(len(VOCABULARY))


def batches(chunks: list[str], size: int) -> Iterator[list[str]]:
    """Each chunk once."""
    for start in range(0, len(chunks) - size + 1, size):
        yield chunks[start : start + size]


def read(texts: list[str]) -> torch.Tensor:
    """A whole batch by one look-up in a table of 256 numbers."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    return torch.from_numpy(NUMBERS[codes.clip(max=255)]).view(len(texts), -1)


def positions(length: int, width: int) -> torch.Tensor:
    """float32, which PyTorch's own functions give."""
    pair = torch.arange(width // 2)
    angle = torch.outer(torch.arange(length), 10000 ** (-2 * pair / width))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Heads are a view of the width; a kernel reads any strides."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def norm(gradients: list[torch.Tensor]) -> float:
    """One number comes back from the device: inf and NaN survive a sum of squares."""
    total = nn.utils.get_total_norm(gradients, error_if_nonfinite=False).item()
    if not np.isfinite(total):
        raise FloatingPointError("a gradient is not finite")
    return total


class Adam(torch.optim.Adam):
    """PyTorch's, with all parameters in one call."""

    def __init__(self, parameters: list[nn.Parameter], rate: float):
        super().__init__(parameters, lr=rate, fused=True)


class Log:
    """Python's own: entries wait in memory until there are a hundred, or until the end."""

    def __init__(self, path: Path, capacity: int = 100):
        self.target = logging.FileHandler(path, mode="w", encoding="utf-8")
        self.handler = logging.handlers.MemoryHandler(capacity, target=self.target)

    def write(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        self.handler.handle(logging.makeLogRecord({"msg": json.dumps(entry), "levelno": logging.INFO}))

    def close(self) -> None:
        """Write what waits."""
        self.handler.close()
        self.target.close()


class History:
    """A list, and one copy at the end."""

    def __init__(self, batches: int):
        self.kept: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor) -> None:
        """Keep the logits of a batch."""
        self.kept.append(logits.detach().float().flatten())

    def all(self) -> torch.Tensor:
        """Everything, as one vector."""
        return torch.cat(self.kept)


CURES = {
    "wrong index": {"batches": batches},
    "reading": {"read": read},
    "logging": {"log": Log},
    "optimizer": {"optimizer": Adam},
    "checks": {"norm": norm},
    "precision": {"positions": positions},
    "layout": {"attention": attention},
    "history": {"history": History},
}
"""By reason, in the order in which the seminar finds them: which part of the script a cure replaces."""


def cured(*reasons: str) -> Parts:
    """The script's parts with these reasons cured; raises KeyError for a reason that there is not."""
    parts = SLOW
    for reason in reasons:
        parts = replace(parts, **CURES[reason])
    return parts
