"""Everything at once: a trained network within a budget of multiplications and bytes, and still right."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from distil import distillation_loss
from int8 import quantize_rows
from pruning import Layer, forward, prune


def forward_int8(layers: Sequence[Layer], x: torch.Tensor) -> torch.Tensor:
    """Return what a network of `compress` makes of x [batch, channels, height, width]. Given.

    A layer is as in `pruning.forward`, but has "codes", int8, in place of "weight", and "scale" [out], float32, in
    "linear" too: a sum of inputs times codes is multiplied by it before "shift" or "bias" is added.
    """
    for number, layer in enumerate(layers):
        weight = layer["codes"].float()
        if layer["kind"] == "conv":
            options = {name: layer[name] for name in ("stride", "padding", "groups")}
            x = F.conv2d(x, weight, **options)
            x = (x * layer["scale"][:, None, None] + layer["shift"][:, None, None]).relu()
        else:
            x = (x.flatten(1) @ weight.T) * layer["scale"] + layer["bias"]
            x = x.relu() if number < len(layers) - 1 else x
    return x


def compress(layers: Sequence[Layer], inputs: torch.Tensor, macs: int, size: int) -> list[Layer]:
    """Return the network `layers`, float32, in the format of `forward_int8`, within two budgets.

    At most `macs` multiply-accumulates for an image as those of `inputs` [n, channels, height, width], and at most
    `size` bytes in all tensors together. `inputs` have no labels: what is right, the network that is given must tell.
    """
    ### BEGIN SOLUTION
    small = prune(layers, inputs.shape[1:], macs, 2)
    names = [
        (number, name) for number, layer in enumerate(small) for name in layer if torch.is_tensor(layer[name])
    ]
    for number, name in names:
        small[number][name] = small[number][name].clone().requires_grad_()
    with torch.no_grad():
        teacher = forward(layers, inputs)
    steps, batch = 150, 128
    optimizer = torch.optim.Adam([small[number][name] for number, name in names], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(0, len(inputs), (batch,))
        logits, targets = forward(small, inputs[chosen])[None], teacher[chosen][None]
        loss = distillation_loss(logits, targets, targets.argmax(-1), temperature=2.0, alpha=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    found = []
    for layer in small:
        layer = {name: value.detach() if torch.is_tensor(value) else value for name, value in layer.items()}
        weight = layer.pop("weight")
        codes, scales = quantize_rows(weight.reshape(len(weight), -1))
        found.append(
            {**layer, "codes": codes.reshape(weight.shape), "scale": scales * layer.get("scale", 1.0)}
        )
    return found
    ### END SOLUTION
