"""Two ways to compute a batch of dot products, and the error that float32 allows them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from effdl import plots
from effdl.bench import Ratio
from week01_intro.float_order import UNIT_ROUNDOFF


def mul_sum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Dot products of the rows of two (rows, d) tensors: multiply element by element, then add up."""
    return x.mul(y).sum(dim=-1)


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
    return float((error / (gamma * products.abs().sum(dim=-1))).max())


def plot_ratios(lengths: Sequence[int], ratios: Sequence[Ratio], rows: int) -> Any:
    """Time of mul_sum over time of bmm for several lengths, with intervals. Returns the figure."""
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots()
    values = [ratio.value for ratio in ratios]
    below = [ratio.value - ratio.low for ratio in ratios]
    above = [ratio.high - ratio.value for ratio in ratios]
    ax.errorbar(lengths, values, yerr=[below, above], capsize=4, marker="o", label="measured, 98 % interval")
    ax.axhline(2, color=plots.COLOURS[1], linestyle="--", marker="", label="what the bytes predict")
    ax.axhline(1, color=plots.INK, linestyle=":", marker="", label="equally fast")
    ax.set(xscale="log", yscale="log", ylabel="time of mul_sum / time of bmm")
    ax.set_xlabel(f"length d of the {rows:,} pairs of vectors")
    ax.set_xticks(lengths, [str(d) for d in lengths])
    ax.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    ax.legend()
    return fig
