# replaces: budget.py
# method: the same share of every layer's channels, those with the largest filters; logits are regressed, with the
# rounding in the training (straight through)
import torch
import torch.nn.functional as F


def forward_int8(layers, x):
    return _run([{**layer, "weight": layer["codes"].float()} for layer in layers], x)


def _run(layers, x):
    for number, layer in enumerate(layers):
        if layer["kind"] == "conv":
            x = F.conv2d(
                x, layer["weight"], stride=layer["stride"], padding=layer["padding"], groups=layer["groups"]
            )
            x = F.relu(x * layer["scale"][:, None, None] + layer["shift"][:, None, None])
        else:
            x = x.flatten(1) @ layer["weight"].T * layer.get("scale", 1) + layer["bias"]
            x = x if number == len(layers) - 1 else F.relu(x)
    return x


def _macs(layers, x):
    total = 0
    for layer in layers:
        if layer["kind"] == "conv":
            x = F.conv2d(
                x, layer["weight"], stride=layer["stride"], padding=layer["padding"], groups=layer["groups"]
            )
            total += layer["weight"][0].numel() * x.numel()
        else:
            total += layer["weight"].numel()
    return total


def _cut(layers, share):
    found, kept, all_of_them = [], None, 0
    for layer in layers:
        layer = dict(layer)
        if kept is not None:
            weight = layer["weight"]
            weight = weight.reshape(len(weight), all_of_them, -1)[:, kept]
            layer["weight"] = weight.reshape(len(weight), -1, *layer["weight"].shape[2:])
        kept = None
        if layer["kind"] == "conv":
            all_of_them = len(layer["weight"])
            size = (layer["weight"].flatten(1).norm(dim=1) * layer["scale"]).abs()
            kept = size.topk(max(2, int(share * all_of_them))).indices.sort().values
            for name in ("weight", "scale", "shift"):
                layer[name] = layer[name][kept]
        found.append(layer)
    return found


def _rounded(weight):
    scale = weight.detach().flatten(1).abs().amax(1).clamp(min=1e-12) / 127
    scale = scale.reshape(-1, *[1] * (weight.dim() - 1))
    return weight + ((weight / scale).round() * scale - weight).detach()


def compress(layers, inputs, macs, size):
    share = 1.0
    while _macs(_cut(layers, share), inputs[:1]) > macs:
        share -= 0.01
    small = [
        {
            key: value.clone().requires_grad_() if torch.is_tensor(value) else value
            for key, value in layer.items()
        }
        for layer in _cut(layers, share)
    ]
    with torch.no_grad():
        wanted = _run(layers, inputs)
    numbers = [value for layer in small for value in layer.values() if torch.is_tensor(value)]
    optimizer = torch.optim.AdamW(numbers, lr=0.01, weight_decay=0)
    for epoch in range(20):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - epoch / 20)
        for batch in torch.randperm(len(inputs)).split(80):
            told = _run([{**layer, "weight": _rounded(layer["weight"])} for layer in small], inputs[batch])
            loss = F.mse_loss(told, wanted[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    result = []
    for layer in small:
        layer = {key: value.detach() if torch.is_tensor(value) else value for key, value in layer.items()}
        weight = layer.pop("weight")
        scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
        layer["codes"] = (weight / scale.reshape(-1, *[1] * (weight.dim() - 1))).round().to(torch.int8)
        layer["scale"] = layer.get("scale", 1.0) * scale
        result.append(layer)
    return result
