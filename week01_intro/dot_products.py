"""Two ways to compute a batch of dot products, and the error that float32 allows them."""

from collections.abc import Callable

import torch

from week01_intro.float_order import UNIT_ROUNDOFF


def mul_sum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Dot products of the rows of two (rows, d) tensors: multiply element by element, then add up."""
    return x.mul(y).sum(dim=-1)


def held_mul_sum(like: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """``mul_sum`` for tensors of this shape, with memory for the products that is taken once and kept."""
    products = torch.empty_like(like)
    return lambda x, y: torch.mul(x, y, out=products).sum(dim=-1)


def bmm(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The same as a batch of products of a 1 x d with a d x 1 matrix."""
    return torch.bmm(x.unsqueeze(1), y.unsqueeze(2)).flatten()


def share_of_bound(dots: Callable, x: torch.Tensor, y: torch.Tensor) -> float:
    """Largest error of ``dots(x, y)`` as a share of the error that is possible in any order of addition.

    The bound is d u / (1 - d u) times the sum of |x_i y_i| (Higham 2002, section 3.1). It holds for float32
    inputs whose products neither overflow nor underflow; the products in float64 are exact.
    """
    products = x.double() * y.double()
    terms = x.shape[-1]
    gamma = terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)
    error = (dots(x, y).double() - products.sum(dim=-1)).abs()
    limit = (gamma * products.abs().sum(dim=-1)).clamp(min=torch.finfo(torch.float64).tiny)
    return float((error / limit).max())
