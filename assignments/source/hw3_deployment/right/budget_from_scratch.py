# replaces: budget.py
# method: a narrower network of random weights, distilled from the given one, quantised behind the training
import math

import torch
from torch.nn import functional as F


def forward_int8(layers, x):
    for layer in layers:
        if layer["kind"] == "conv":
            x = F.conv2d(
                x, layer["codes"].float(), None, layer["stride"], layer["padding"], 1, layer["groups"]
            )
            x = torch.relu(x * layer["scale"].view(-1, 1, 1) + layer["shift"].view(-1, 1, 1))
        else:
            x = F.linear(x.flatten(1), layer["codes"].float()) * layer["scale"] + layer["bias"]
            x = x if layer is layers[-1] else x.relu()
    return x


def _forward(layers, x):
    for layer in layers:
        if layer["kind"] == "conv":
            x = F.conv2d(x, layer["weight"], None, layer["stride"], layer["padding"], 1, layer["groups"])
            x = torch.relu(x * layer["scale"].view(-1, 1, 1) + layer["shift"].view(-1, 1, 1))
        else:
            x = F.linear(x.flatten(1), layer["weight"], layer["bias"])
            x = x if layer is layers[-1] else x.relu()
    return x


def _narrow(layers, shape, share):
    (inputs, height, width), made, macs = shape, [], 0
    for layer in layers:
        weight = layer["weight"]
        if layer["kind"] == "linear":
            outputs = len(weight)
            inputs = inputs * height * width if made[-1]["kind"] == "conv" else inputs
            macs += outputs * inputs
            new = {"weight": torch.randn(outputs, inputs) / math.sqrt(inputs), "bias": torch.zeros(outputs)}
            made.append({**layer, **new})
        else:
            outputs, (tall, wide) = max(1, int(len(weight) * share)), weight.shape[2:]
            height = (height + 2 * layer["padding"] - tall) // layer["stride"] + 1
            width = (width + 2 * layer["padding"] - wide) // layer["stride"] + 1
            macs += outputs * inputs * tall * wide * height * width
            new = torch.randn(outputs, inputs, tall, wide) * math.sqrt(2 / (inputs * tall * wide))
            made.append({**layer, "weight": new, "scale": torch.ones(outputs), "shift": torch.zeros(outputs)})
        inputs = outputs
    return made, macs


def compress(layers, inputs, macs, size):
    share = 1.0
    while _narrow(layers, inputs.shape[1:], share)[1] > macs:
        share *= 0.98
    made, _ = _narrow(layers, inputs.shape[1:], share)
    with torch.no_grad():
        teacher = _forward(layers, inputs).softmax(1)
    values = [value.requires_grad_() for layer in made for value in layer.values() if torch.is_tensor(value)]
    steps = 300
    optimizer = torch.optim.Adam(values, lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (128,))
        loss = F.cross_entropy(_forward(made, inputs[rows]), teacher[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    found = []
    for layer in made:
        weight = layer["weight"].detach()
        step = weight.abs().flatten(1).amax(1) / 127
        codes = (weight.flatten(1) / step[:, None]).round().to(torch.int8).reshape(weight.shape)
        new = {key: value.detach() if torch.is_tensor(value) else value for key, value in layer.items()}
        del new["weight"]
        found.append({**new, "codes": codes, "scale": step * new["scale"] if "scale" in new else step})
    return found
