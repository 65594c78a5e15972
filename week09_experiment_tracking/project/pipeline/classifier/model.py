"""The network, and the file that leaves the training: plain arrays, which nothing has to unpickle."""

from pathlib import Path

import numpy as np
from torch import nn


def network(width: int, dropout: float) -> nn.Sequential:
    """64 pixels, two hidden layers of `width` with batch norm and dropout, 10 scores."""
    layers: list[nn.Module] = []
    for inputs in (64, width):
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def export(model: nn.Sequential, path: Path) -> None:
    """Write the network for service: each batch norm folded into the linear layer before it."""
    arrays, count = {}, 0
    for layer, after in zip(model, [*list(model)[1:], None], strict=True):
        if not isinstance(layer, nn.Linear):
            continue
        weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
        if isinstance(after, nn.BatchNorm1d):
            gain = after.weight.detach().double() / (after.running_var.double() + after.eps).sqrt()
            weight, bias = gain[:, None] * weight, gain * (bias - after.running_mean) + after.bias.detach()
        arrays |= {f"weight{count}": weight.float().numpy(), f"bias{count}": bias.float().numpy()}
        count += 1
    np.savez(path, **arrays)
