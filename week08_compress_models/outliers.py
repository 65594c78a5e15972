"""Outliers: a few channels of activations that are much larger than the rest, planted, found, and taken away.

Large language models have them (Dettmers et al., LLM.int8(), NeurIPS 2022; Sun et al., Massive activations, COLM
2024); a small one has hardly any. `plant` makes them without changing what the model computes.
"""

import copy
import math

import torch
from torch import nn

from week08_compress_models.gptq import Inputs
from week08_compress_models.grids import QuantisedLinear, Rounding
from week08_compress_models.language_model import LanguageModel, linears


def readers(block: nn.Module) -> list[tuple[nn.RMSNorm, list[nn.Linear]]]:
    """The norms of a block, each with the layers that read what it writes."""
    attention, mlp = block.attention, block.mlp
    return [
        (block.norm1, [attention.query, attention.key, attention.value]),
        (block.norm2, [mlp.gate, mlp.up]),
    ]


@torch.no_grad()
def plant(model: LanguageModel, factor: float, channels: int = 2, seed: int = 0) -> LanguageModel:
    """A copy in which some channels behind every norm are `factor` times as large, and their readers that much
    smaller.

    The product of both is what it was: the function is the same up to the rounding of float32.
    """
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for block in model.blocks:
        for norm, layers in readers(block):
            chosen = torch.randperm(len(norm.weight), generator=generator)[:channels]
            norm.weight[chosen] *= factor
            for layer in layers:
                layer.weight[:, chosen] /= factor
    return model


class Largest(Inputs):
    """The largest magnitude of every input channel of some layers."""

    def __init__(self, layers: dict[str, nn.Module]):
        super().__init__(layers)
        self.found = {}

    def add(self, name: str, x: torch.Tensor) -> None:
        """Keep what is larger than before."""
        most = x.detach().abs().flatten(0, -2).amax(0)
        self.found[name] = torch.maximum(self.found[name], most) if name in self.found else most


@torch.no_grad()
def smooth(model: LanguageModel, tokens: torch.Tensor, alpha: float = 0.5) -> LanguageModel:
    """SmoothQuant: a copy in which difficulty moves from activations to weights, channel by channel.

    Channel j behind a norm is divided by max|x_j|^alpha / max|w_j|^(1 - alpha), and its readers' columns are
    multiplied by it (Xiao et al., SmoothQuant, ICML 2023). Nothing is left to do while the model runs.
    """
    model = copy.deepcopy(model)
    pairs = [pair for block in model.blocks for pair in readers(block)]
    with Largest({str(i): layers[0] for i, (_, layers) in enumerate(pairs)}) as largest:
        model(tokens)
    for i, (norm, layers) in enumerate(pairs):
        inputs = largest.found[str(i)].clamp(min=1e-5)
        weights = torch.cat([layer.weight.abs() for layer in layers]).amax(0).clamp(min=1e-5)
        factor = inputs**alpha / weights ** (1 - alpha)
        norm.weight /= factor
        for layer in layers:
            layer.weight *= factor
    return model


def hadamard(size: int) -> torch.Tensor:
    """The Hadamard matrix (size, size), ±1/√size: orthogonal and symmetric. The size must be a power of two."""
    if size & (size - 1):
        raise ValueError(f"size={size} is no power of two")
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix / math.sqrt(size)


class Rotated(nn.Module):
    """A linear layer that turns its input before it rounds it; its weight was turned to match: both cancel."""

    def __init__(self, inner: QuantisedLinear):
        super().__init__()
        self.inner = inner
        self.register_buffer("turn", hadamard(inner.weight.shape[1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        return self.inner(x @ self.turn)


@torch.no_grad()
def rotate(model: LanguageModel, weights: Rounding, activations: Rounding) -> LanguageModel:
    """A copy whose linear layers are `Rotated`: weights W·Q and inputs x·Q are rounded, and (x·Q)(W·Q)ᵀ = x·Wᵀ."""
    model = copy.deepcopy(model)
    for name, layer in linears(model).items():
        parent, _, child = name.rpartition(".")
        turned = layer.weight @ hadamard(layer.weight.shape[1])
        inner = QuantisedLinear(weights(turned), activations)
        setattr(model.get_submodule(parent), child, Rotated(inner))
    return model


@torch.no_grad()
def largest_inputs(model: LanguageModel, tokens: torch.Tensor, layer: str) -> torch.Tensor:
    """The largest magnitude of each input channel of one layer on some text, as the layer's product sees it."""
    with Largest({layer: model.get_submodule(layer)}) as largest:
        model(tokens)
    return largest.found[layer]
