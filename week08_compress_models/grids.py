"""Grids: from real numbers to few integers and back, and how many bits that takes when everything is counted.

A grid has 2^bits evenly spaced levels: number = scale · (code - zero). Who shares a scale is a choice: the whole
tensor, a channel (a row of a weight matrix, a token of activations), or a group of neighbours in a row.

Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only inference, CVPR 2018;
Gholami et al., A survey of quantization methods for efficient neural network inference, 2021.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from week08_compress_models.language_model import linears

SCALE_BITS = 16  # scales are stored as float16
Rounding = Callable[[torch.Tensor], torch.Tensor]
"""Takes a tensor, gives one of the same shape with rounded numbers."""


@dataclass(frozen=True)
class Grid:
    """Evenly spaced levels. `share` is "tensor", "channel" (a row), or how many neighbours in a row share a scale."""

    bits: int
    share: str | int = "channel"
    symmetric: bool = True

    def __post_init__(self):
        if self.share not in ("tensor", "channel") and not (isinstance(self.share, int) and self.share > 0):
            raise ValueError(f"share={self.share!r} is not 'tensor', 'channel' or the size of a group")

    @property
    def levels(self) -> tuple[int, int]:
        """The smallest and the largest code: -127 to 127 for 8 symmetric bits, 0 to 255 for affine ones."""
        half = 2 ** (self.bits - 1)
        return (1 - half, half - 1) if self.symmetric else (0, 2 * half - 1)

    def members(self, shape: tuple[int, ...] | torch.Size) -> int:
        """How many numbers of a tensor share a scale."""
        row = shape[-1]
        if isinstance(self.share, int):
            if row % self.share:
                raise ValueError(f"rows of {row} do not divide into groups of {self.share}")
            return self.share
        return row if self.share == "channel" else torch.Size(shape).numel()

    def bits_per_number(self, shape: tuple[int, ...] | torch.Size) -> float:
        """Bits of storage per number, with the scale, and with the zero where there is one."""
        beside = SCALE_BITS + (0 if self.symmetric else self.bits)
        return self.bits + beside / self.members(shape)


def fit(blocks: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero for each row of `blocks` (n, members), each (n, 1), so that no number lies outside the grid."""
    low, high = grid.levels
    if grid.symmetric:
        scale = blocks.abs().amax(1, keepdim=True) / high
        zero = torch.zeros_like(scale)
    else:
        # Zero must be a level: padding and ReLU give exact zeros.
        least = blocks.amin(1, keepdim=True).clamp(max=0)
        scale = (blocks.amax(1, keepdim=True).clamp(min=0) - least) / (high - low)
        zero = (-least / scale.clamp(min=1e-12)).round()
    # As it will be stored; never zero, so that a row of zeros divides.
    return scale.clamp(min=1e-7).half().to(blocks.dtype).clamp(min=1e-7), zero


def encode(blocks: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The nearest code of each number, as a tensor of whole floats."""
    return ((blocks / scale).round() + zero).clamp(*grid.levels)


def decode(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """The numbers that the codes stand for."""
    return scale * (codes - zero)


def round_trip(x: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Each number replaced by the nearest of its grid ("round to nearest"); any shape."""
    blocks = x.reshape(-1, grid.members(x.shape))
    scale, zero = fit(blocks, grid)
    return decode(encode(blocks, scale, zero, grid), scale, zero).view(x.shape)


def nearest(grid: Grid) -> Rounding:
    """The function that rounds any tensor to the nearest numbers of the grid."""
    return lambda x: round_trip(x, grid)


def round_fp8(x: torch.Tensor, share: str | int = "channel") -> torch.Tensor:
    """Each number replaced by the nearest of E4M3 (4 bits of exponent, 3 of mantissa), after scaling to its range.

    Micikevicius et al., FP8 formats for deep learning, 2022. The levels are dense near zero: no evenly spaced grid.
    """
    blocks = x.reshape(-1, Grid(8, share).members(x.shape))
    scale = blocks.abs().amax(1, keepdim=True).clamp(min=1e-7) / 448
    return ((blocks / scale).to(torch.float8_e4m3fn).to(x.dtype) * scale).view(x.shape)


class QuantisedLinear(nn.Module):
    """A linear layer whose inputs are rounded while it runs: "weight and activation" quantisation.

    Products and sums are done in float, on numbers that are scale · integer: an integer kernel gives the same up to
    the rounding of float32 (`tests/` compares them). With share="channel" each token has its own scale.
    """

    def __init__(self, weight: torch.Tensor, activations: Rounding):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.activations = activations

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        return F.linear(self.activations(x), self.weight)


def compress(
    model: nn.Module,
    weights: Rounding,
    activations: Rounding | None = None,
) -> nn.Module:
    """A copy of the model with every linear layer of its blocks rounded; inputs of the layers too if asked."""
    model = copy.deepcopy(model)
    for name, layer in linears(model).items():
        with torch.no_grad():
            layer.weight.copy_(weights(layer.weight))
        if activations is not None:
            parent, _, child = name.rpartition(".")
            replaced = QuantisedLinear(layer.weight.detach(), activations)
            setattr(model.get_submodule(parent), child, replaced)
    return model


def bits_per_weight(model: nn.Module, grid: Grid) -> float:
    """Mean bits of a weight of the blocks' linear layers, scales and zeros counted."""
    shapes = [layer.weight.shape for layer in linears(model).values()]
    bits = sum(grid.bits_per_number(shape) * shape.numel() for shape in shapes)
    return bits / sum(shape.numel() for shape in shapes)


def file_bits(model: nn.Module, grid: Grid) -> float:
    """Bits per weight of the whole file: embedding, norms and logits stay at 16 bits."""
    inside = sum(layer.weight.numel() for layer in linears(model).values())
    everything = sum(p.numel() for p in model.parameters())
    return (bits_per_weight(model, grid) * inside + 16 * (everything - inside)) / everything


class StraightThrough(torch.autograd.Function):
    """Rounds on the way forward; on the way back the gradient passes as if nothing had happened.

    Bengio, Léonard & Courville, Estimating or propagating gradients through stochastic neurons, 2013.
    """

    @staticmethod
    def forward(ctx, weight: torch.Tensor, grid: Grid) -> torch.Tensor:
        return round_trip(weight, grid)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


class TrainedRound(nn.Module):
    """A parametrization of a weight: what the layer multiplies with is the rounded one, what is trained is not."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.grid = grid

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight on its grid."""
        return StraightThrough.apply(weight, self.grid)
