"""Pruning: whole channels until a network fits a budget of multiplications, and two weights of each four."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

Layer = dict[str, Any]


def forward(layers: Sequence[Layer], x: torch.Tensor) -> torch.Tensor:
    """Return what a network makes of x [batch, channels, height, width]. Given.

    A layer is a dictionary. With "kind" "conv": "weight" [out, in / groups, kh, kw], then "scale" and "shift" [out]
    (a batch norm at rest), and the integers "stride", "padding" and "groups"; a ReLU ends it. With "kind" "linear":
    "weight" [out, in] and "bias" [out]; what comes in is flattened, and a ReLU ends it where it is not the last.
    """
    for number, layer in enumerate(layers):
        if layer["kind"] == "conv":
            options = {name: layer[name] for name in ("stride", "padding", "groups")}
            x = F.conv2d(x, layer["weight"], **options)
            x = (x * layer["scale"][:, None, None] + layer["shift"][:, None, None]).relu()
        else:
            x = x.flatten(1) @ layer["weight"].T + layer["bias"]
            x = x.relu() if number < len(layers) - 1 else x
    return x


def count_macs(layers: Sequence[Layer], shape: Sequence[int]) -> int:
    """Return how many multiply-accumulates the weights of a network take for one image of `shape` [c, h, w].

    One for each weight and each output that it goes into; a weight that meets padding counts. Scale, shift, bias and
    ReLU are free.
    """
    ### BEGIN SOLUTION
    _, height, width = shape
    total = 0
    for layer in layers:
        if layer["kind"] == "conv":
            *_, tall, wide = layer["weight"].shape
            height = (height + 2 * layer["padding"] - tall) // layer["stride"] + 1
            width = (width + 2 * layer["padding"] - wide) // layer["stride"] + 1
            total += layer["weight"].numel() * height * width
        else:
            total += layer["weight"].numel()
    return total
    ### END SOLUTION


def prune(layers: Sequence[Layer], shape: Sequence[int], budget: int, least: int) -> list[Layer]:
    """Return the network without the channels that matter least, of at most `budget` multiply-accumulates.

    The output channels of all convolutions (all have groups = 1) stand in one line by the magnitude of their
    "scale", the smallest first. One after the other is removed until the network fits; who belongs to a layer that
    has only `least` channels left is passed over. What stays keeps its order, its weights and its other numbers.
    Raises ValueError where the budget cannot be met. `layers` stay as they are.
    """
    ### BEGIN SOLUTION
    kept = {
        number: list(range(len(layer["scale"])))
        for number, layer in enumerate(layers)
        if layer["kind"] == "conv"
    }
    line = sorted(
        (abs(float(layers[number]["scale"][channel])), number, channel)
        for number, channels in kept.items()
        for channel in channels
    )
    smaller = list(layers)
    for _, number, channel in line:
        if count_macs(smaller, shape) <= budget:
            break
        if len(kept[number]) > least:
            kept[number].remove(channel)
            smaller = _with(layers, kept)
    if count_macs(smaller, shape) > budget:
        raise ValueError(f"{least} channels in each layer take more than {budget} multiply-accumulates")
    return smaller
    ### END SOLUTION


### BEGIN SOLUTION
def _with(layers: Sequence[Layer], kept: dict[int, list[int]]) -> list[Layer]:
    """Return the network with these output channels of its convolutions alone."""
    found, before = [], None
    for number, layer in enumerate(layers):
        layer = dict(layer)
        if before is not None:  # the channels that the layer before has kept
            channels, all_of_them = before
            weight = layer["weight"].reshape(len(layer["weight"]), all_of_them, -1)[:, channels]
            rest = layer["weight"].shape[2:] if layer["kind"] == "conv" else ()
            layer["weight"] = weight.reshape(len(weight), -1, *rest)
        before = None
        if layer["kind"] == "conv":
            before = (kept[number], len(layer["scale"]))
            for name in ("weight", "scale", "shift"):
                layer[name] = layer[name][kept[number]]
        found.append(layer)
    return found


### END SOLUTION
def mask_2_4(weight: torch.Tensor) -> torch.Tensor:
    """Return a mask, bool, like `weight` [n, k], k a multiple of 4: True at the two of each four that stay.

    The fours are the columns 0 to 3, 4 to 7 and so on of each row. The two of largest magnitude stay; of equal
    ones those further to the left.
    """
    ### BEGIN SOLUTION
    fours = weight.abs().reshape(-1, 4)
    order = fours.sort(dim=1, descending=True, stable=True).indices
    return torch.zeros_like(fours, dtype=torch.bool).scatter(1, order[:, :2], True).reshape(weight.shape)
    ### END SOLUTION
