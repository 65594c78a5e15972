"""The memory of a device whose feature maps wait on the host: vDNN as arithmetic over the layers of known networks.

Rhu, Gimelshein, Clemons, Zulfiqar and Keckler, *vDNN: Virtualized Deep Neural Networks for Scalable, Memory-Efficient
Neural Network Design*, MICRO 2016. Nothing is computed: the networks are built on PyTorch's `meta` device.
"""

from dataclasses import dataclass

import torch
from torch import nn

from effdl import vision  # noqa: F401, must come before torchvision

FLOPS, BANDWIDTH = 5e12, 250e9
"""Of the simulated device, about a Titan X of 2015: operations and bytes a second. Only their ratio matters here."""


@dataclass(frozen=True)
class Layer:
    """A layer that writes a map of its own; ReLU and dropout work in place."""

    kind: str
    inward: int  # bytes of what it reads
    outward: int
    flops: float  # forward

    @property
    def forward(self) -> int:
        """Bytes on the device while it runs forward."""
        return self.inward + self.outward

    @property
    def backward(self) -> int:
        """Bytes on the device while it runs backward: a pooling needs its output too, a convolution does not."""
        return 2 * self.inward + (2 if self.kind == "MaxPool2d" else 1) * self.outward

    @property
    def seconds(self) -> float:
        """Of the forward pass; the backward pass takes twice as long."""
        return max(self.flops / FLOPS, self.forward / BANDWIDTH)


class OverFeat(nn.Sequential):
    """The fast network of Sermanet et al. (2014)."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 96, 11, 4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(96, 256, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(256, 512, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(512, 1024, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(1024, 1024, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(36 * 1024, 3072), nn.ReLU(), nn.Linear(3072, 4096), nn.ReLU(), nn.Linear(4096, 1000)),
        )


def networks() -> dict[str, tuple[nn.Module, int, int]]:
    """The paper's networks by name: the module, the batch, and the pixels of an image's side."""
    from torchvision import models

    with torch.device("meta"):
        return {
            "AlexNet": (models.alexnet(), 128, 224),
            "OverFeat": (OverFeat(), 128, 231),
            "GoogLeNet": (models.googlenet(aux_logits=False, init_weights=False), 128, 224),
            "VGG-16": (models.vgg16(), 256, 224),
        }


def layers(net: nn.Module, batch: int, pixels: int) -> list[Layer]:
    """The layers of a network on the `meta` device, in the order in which they run."""
    found = []

    def note(module, inputs, out):
        (x,) = inputs
        flops = 0
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            flops = 2 * out.numel() * module.weight[0].numel()
        found.append(Layer(type(module).__name__, 4 * x.numel(), 4 * out.numel(), flops))

    kinds = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, kinds)]
    net.eval()(torch.empty(batch, 3, pixels, pixels, device="meta"))
    for hook in hooks:
        hook.remove()
    return found


@dataclass(frozen=True)
class Footprint:
    """Bytes of feature maps and their gradients on the device."""

    all_kept: int  # every map stays, and two gradient maps of the largest size take turns
    largest: int  # with offloading, in the worst layer
    average: float  # with offloading, over the time of a step
    link: float  # bytes a second that bring each map back while the layer behind it computes backward


def footprint(found: list[Layer]) -> Footprint:
    """With and without offloading every map: only what the running layer needs is on the device."""
    maps = found[0].inward + sum(layer.outward for layer in found)
    times = [layer.seconds for layer in found]
    used = sum(time * (layer.forward + 2 * layer.backward) for time, layer in zip(times, found, strict=True))
    return Footprint(
        all_kept=maps + 2 * max(layer.outward for layer in found),
        largest=max(max(layer.forward, layer.backward) for layer in found),
        average=used / (3 * sum(times)),
        link=maps / (2 * sum(times)),
    )
