"""Multiply-accumulates (MACs) of a network: counted by hooks, and by loops that do every one of them.

A MAC is one product and one addition: two floating-point operations, which `torch.utils.flop_counter` counts.
"""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn


def layer_macs(layer: nn.Module, out: torch.Tensor) -> int:
    """MACs of one call of a layer: for each number that it writes, the numbers it adds up; a bias is free."""
    if isinstance(layer, nn.Conv2d):
        return out.numel() * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return out.numel() * layer.in_features
    return 0


@torch.no_grad()
def count_macs(model: nn.Module, x: torch.Tensor) -> int:
    """MACs of all convolutions and linear layers in one call of a model; no product of two activations."""
    found: list[int] = []

    def note(layer: nn.Module, _, out: torch.Tensor) -> None:
        found.append(layer_macs(layer, out))

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(found)


@torch.no_grad()
def by_loops(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """A convolution or linear layer as a nest of loops, one MAC in each turn: its output (float64), and the turns.

    Zeros of the padding are multiplied too, as `torch.utils.flop_counter` and most kernels do.
    """
    if isinstance(layer, nn.Linear):
        flat = x.reshape(-1, layer.in_features).double().tolist()
        weight, bias = layer.weight.double().tolist(), layer.bias.double().tolist()
        out, turns = [], 0
        for row, o in itertools.product(flat, range(layer.out_features)):
            total = bias[o]
            for i in range(layer.in_features):
                total += row[i] * weight[o][i]
                turns += 1
            out.append(total)
        return torch.tensor(out, dtype=torch.float64).view(*x.shape[:-1], -1), turns
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(layer.padding, tuple)
    (rows, columns), (stride, _) = layer.kernel_size, layer.stride
    padded = F.pad(x.double(), (layer.padding[1],) * 2 + (layer.padding[0],) * 2)
    high, wide = (padded.shape[2] - rows) // stride + 1, (padded.shape[3] - columns) // stride + 1
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    numbers, weight = padded.tolist(), layer.weight.double().tolist()
    out, turns = torch.zeros(len(x), layer.out_channels, high, wide, dtype=torch.float64), 0
    for n, o, h, w in itertools.product(range(len(x)), range(layer.out_channels), range(high), range(wide)):
        total = float(layer.bias[o]) if layer.bias is not None else 0.0
        first = o // outputs * inputs
        for i, r, c in itertools.product(range(inputs), range(rows), range(columns)):
            total += numbers[n][first + i][h * stride + r][w * stride + c] * weight[o][i][r][c]
            turns += 1
        out[n, o, h, w] = total
    return out, turns


@torch.no_grad()
def brute_force(model: nn.Sequential, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The output of a chain of layers whose convolutions and linear layers are loops, and all their turns."""
    turns = 0
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            x, more = by_loops(layer, x)
            turns += more
        else:
            x = layer(x)
    return x, turns


def by_flop_counter(call: Callable[[], object]) -> int:
    """MACs of a call by PyTorch's own counter, which watches operators and also sees products of activations."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2
