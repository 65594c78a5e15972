# replaces: pruning.py
# method: plain lists, a layer's channels sliced out with index_select after all is decided, MACs by widths
import torch
import torch.nn.functional as F


def forward(layers, x):
    for i, layer in enumerate(layers):
        if layer["kind"] == "conv":
            y = F.conv2d(
                x, layer["weight"], stride=layer["stride"], padding=layer["padding"], groups=layer["groups"]
            )
            x = F.relu(y * layer["scale"][None, :, None, None] + layer["shift"][None, :, None, None])
        else:
            x = F.linear(x.reshape(len(x), -1), layer["weight"], layer["bias"])
            if i + 1 < len(layers):
                x = F.relu(x)
    return x


def _places(layers, shape):
    found, size = [], list(shape[1:])
    for layer in layers:
        if layer["kind"] == "conv":
            kernel = layer["weight"].shape[2:]
            size = [
                len(range(0, s + 2 * layer["padding"] - k + 1, layer["stride"]))
                for s, k in zip(size, kernel, strict=True)
            ]
            found.append(size[0] * size[1])
        else:
            found.append(1)
    return found


def count_macs(layers, shape):
    places = _places(layers, shape)
    return sum(layer["weight"].numel() * n for layer, n in zip(layers, places, strict=True))


def prune(layers, shape, budget, least):
    places = _places(layers, shape)
    widths = [len(layer["weight"]) for layer in layers]
    gone = [set() for _ in layers]

    def cost():
        total, share = 0, 1.0
        for i, layer in enumerate(layers):
            per_input = layer["weight"].numel() // widths[i]
            kept = widths[i] - len(gone[i])
            before = (widths[i - 1] - len(gone[i - 1])) / widths[i - 1] if i else share
            total += round(per_input * before) * kept * places[i]
        return total

    order = []
    for i, layer in enumerate(layers):
        if layer["kind"] == "conv":
            order += [(layer["scale"][c].abs().item(), i, c) for c in range(widths[i])]
    order.sort()
    while cost() > budget:
        while order and widths[order[0][1]] - len(gone[order[0][1]]) <= least:
            order.pop(0)
        if not order:
            raise ValueError(f"no network of at most {budget}")
        _, i, c = order.pop(0)
        gone[i].add(c)
    result = []
    for i, layer in enumerate(layers):
        new = {key: value for key, value in layer.items()}
        keep = torch.tensor([c for c in range(widths[i]) if c not in gone[i]])
        for key in ("weight", "scale", "shift", "bias"):
            if key in new:
                new[key] = new[key].index_select(0, keep)
        if i:
            stays = [c for c in range(widths[i - 1]) if c not in gone[i - 1]]
            run = layer["weight"].shape[1] // widths[i - 1]
            columns = torch.tensor([c * run + j for c in stays for j in range(run)])
            new["weight"] = new["weight"].index_select(1, columns)
        result.append(new)
    return result


def mask_2_4(weight):
    mask = torch.zeros(weight.shape, dtype=torch.bool)
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], 4):
            four = weight[row, start : start + 4].abs().tolist()
            first = four.index(max(four))
            four[first] = -1.0
            mask[row, [start + first, start + four.index(max(four))]] = True
    return mask
