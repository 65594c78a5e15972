"""Random inputs for checks."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from grader.later import torch


class Rng:
    """Random inputs, fresh for every run; the seed stays in the examiner."""

    def __init__(self, seed: int, name: str):
        # Each check has its own stream, so that no check depends on those before it.
        self._rng = np.random.default_rng([seed, zlib.crc32(name.encode())])

    def normal(
        self, shape: Sequence[int], *, mean: float = 0.0, std: float = 1.0, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Return a tensor of Gaussian numbers, float32 unless `dtype` says otherwise."""
        return torch.from_numpy(self._rng.normal(mean, std, tuple(shape))).to(dtype or torch.float32)

    def uniform(
        self, low: float, high: float, shape: Sequence[int], *, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Return a tensor of numbers in [low, high), float32 unless `dtype` says otherwise."""
        return torch.from_numpy(self._rng.uniform(low, high, tuple(shape))).to(dtype or torch.float32)

    def integers(self, low: int, high: int, shape: Sequence[int] | None = None) -> Any:
        """Return an int, or an int64 tensor of the given shape, in [low, high)."""
        if shape is None:
            return int(self._rng.integers(low, high))
        return torch.from_numpy(self._rng.integers(low, high, tuple(shape)))

    def permutation(self, n: int) -> torch.Tensor:
        """Return the numbers 0 .. n-1 in random order, int64."""
        return torch.from_numpy(self._rng.permutation(n))

    def choice(self, options: Sequence[Any]) -> Any:
        """Return one of `options`."""
        return options[self.integers(0, len(options))]
