"""Floating-point sums and products depend on the order of operations; by how much is known in advance.

u = 2**-24 is the unit roundoff of float32: each addition or multiplication is exact up to a factor 1 + d with
|d| <= u. The bounds here follow from nothing else (Higham, Accuracy and Stability of Numerical Algorithms,
chapters 3 and 4).
"""

import math
from collections.abc import Callable

import numpy as np
import torch

UNIT_ROUNDOFF = 2.0**-24


def exact_sum(values: np.ndarray) -> float:
    """The sum of float32 values, rounded once (to float64)."""
    return math.fsum(values.astype(np.float64))


def left_to_right(values: np.ndarray) -> float:
    """Sum in the order and in the type of the array: n - 1 additions behind each other."""
    return float(np.add.accumulate(values)[-1])


def pairwise(values: np.ndarray) -> float:
    """Sum of a binary tree in the type of the array: log2(n) additions behind each other. n is a power of two."""
    if values.size & (values.size - 1):
        raise ValueError(f"pairwise() adds 2**k values, not {values.size}")
    while values.size > 1:
        values = values[0::2] + values[1::2]
    return float(values[0])


def torch_sum(values: np.ndarray) -> float:
    """What ``torch.sum`` makes of it."""
    return float(torch.from_numpy(values).sum())


def sum_bound(additions: int, values: np.ndarray) -> float:
    """Largest possible error of a sum in which no value passes through more than ``additions`` additions."""
    gamma = additions * UNIT_ROUNDOFF / (1 - additions * UNIT_ROUNDOFF)
    return gamma * float(np.abs(values, dtype=np.float64).sum())


def power(matrix: torch.Tensor, exponent: int, product: Callable = torch.matmul) -> torch.Tensor:
    """matrix ** exponent by repeated multiplication, so that rounding errors travel through every product."""
    result = matrix
    for _ in range(exponent - 1):
        result = product(result, matrix)
    return result


def transition_matrix(n: int, seed: int = 0) -> torch.Tensor:
    """A random n x n float32 matrix with rows that sum to one. All entries are positive, so nothing cancels."""
    matrix = torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    return (matrix / matrix.sum(dim=1, keepdim=True)).float()


def power_bound(n: int, exponent: int) -> float:
    """Largest relative error of an entry of ``power()`` for a positive n x n float32 matrix, in any order.

    Each product is exact up to a factor (1 + d)**n with |d| <= u, and there are exponent - 1 of them.
    """
    return math.expm1((exponent - 1) * n * -math.log1p(-UNIT_ROUNDOFF))


def largest_relative_error(result: torch.Tensor, reference: torch.Tensor) -> float:
    """max |result - reference| / |reference| over the entries, in float64."""
    reference = reference.double().cpu()
    return float(((result.double().cpu() - reference).abs() / reference.abs()).max())


SUMMANDS = {
    "2**24, then 1,000 ones": np.array([2.0**24] + [1.0] * 1000, dtype=np.float32),
    "0.1, 50,000 times": np.full(50_000, 0.1, dtype=np.float32),
    "a falling series": (1 / np.arange(1, 20_001) ** 2).astype(np.float32),
}
SUM_SPECIFICATION = [((name,), float(np.float32(exact_sum(values)))) for name, values in SUMMANDS.items()]
"""Cases for effdl.notebook.check_exercise: (name of SUMMANDS), the exact sum rounded to float32."""
