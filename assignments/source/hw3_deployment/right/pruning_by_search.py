# replaces: pruning.py
# method: a binary search over how many channels go, and masks in place of lists
import torch
from torch.nn.functional import conv2d


def forward(layers, x):
    for layer in layers[:-1]:
        x = _one(layer, x).relu()
    return _one(layers[-1], x)


def _one(layer, x):
    if layer["kind"] == "linear":
        return torch.nn.functional.linear(x.flatten(1), layer["weight"], layer["bias"])
    x = conv2d(x, layer["weight"], None, layer["stride"], layer["padding"], 1, layer["groups"])
    return x * layer["scale"].view(-1, 1, 1) + layer["shift"].view(-1, 1, 1)


def count_macs(layers, shape):
    x, total = torch.zeros(1, *shape), 0
    for layer in layers:
        if layer["kind"] == "linear":
            total += layer["weight"].shape[0] * layer["weight"].shape[1]
            continue
        _, inner, kh, kw = layer["weight"].shape
        x = x.new_zeros(1, inner * layer["groups"], *x.shape[2:])
        x = conv2d(
            x, torch.zeros(layer["weight"].shape), None, layer["stride"], layer["padding"], 1, layer["groups"]
        )
        total += x.numel() * inner * kh * kw
    return total


def prune(layers, shape, budget, least):
    places = [number for number, layer in enumerate(layers) if layer["kind"] == "conv"]
    sizes = {number: len(layers[number]["scale"]) for number in places}
    owner = torch.cat([torch.full((sizes[number],), number) for number in places])
    channel = torch.cat([torch.arange(sizes[number]) for number in places])
    order = torch.cat([layers[number]["scale"].abs() for number in places]).argsort()
    left, going = dict(sizes), []
    for place in order.tolist():
        number = int(owner[place])
        if left[number] > least:
            left[number] -= 1
            going.append((number, int(channel[place])))

    def without(count):
        masks = {number: torch.ones(size, dtype=torch.bool) for number, size in sizes.items()}
        for number, gone in going[:count]:
            masks[number][gone] = False
        result, before = [], None
        for number, layer in enumerate(layers):
            new = dict(layer)
            weight = layer["weight"]
            if before is not None:
                if layer["kind"] == "linear":
                    weight = weight[:, before.repeat_interleave(weight.shape[1] // len(before))]
                else:
                    weight = weight[:, before]
            before = masks.get(number)
            if before is not None:
                weight, new["scale"], new["shift"] = (
                    weight[before],
                    layer["scale"][before],
                    layer["shift"][before],
                )
            new["weight"] = weight
            result.append(new)
        return result

    low, high = 0, len(going)
    if count_macs(without(high), shape) > budget:
        raise ValueError("too small a budget")
    while low < high:
        middle = (low + high) // 2
        if count_macs(without(middle), shape) <= budget:
            high = middle
        else:
            low = middle + 1
    return without(low)


def mask_2_4(weight):
    size = weight.abs().unflatten(1, (-1, 4))
    place = torch.arange(4)
    # How many of its four come before each: the larger, and equal ones further to the left.
    before = (size[..., None, :] > size[..., :, None]) | (
        (size[..., None, :] == size[..., :, None]) & (place < place[:, None])
    )
    return (before.sum(-1) < 2).flatten(1)
