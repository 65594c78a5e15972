"""Is a compressed network easier to upset? Digits of 8 × 8 pixels, a small network, noise, and an adversary.

Five forms of one network, several seeds: as trained, int8 (weights and activations), 4-bit and 3-bit weights, and a
tenth of the weights; each is attacked through its own gradient.
"""

import copy
import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from week08_compress_models import storage
from week08_compress_models.grids import Grid

Attack = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


@functools.cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (n, 64) between 0 and 1 and labels of scikit-learn's digits: 1,200 to train on, 597 that judge."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.data / 16).float()
    labels = torch.from_numpy(data.target).long()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    train, test = order[:1200], order[1200:]
    return images[train], labels[train], images[test], labels[test]


def _fit(net: nn.Module, seed: int, steps: int, masks: dict[str, Tensor] | None = None) -> nn.Module:
    images, labels, _, _ = digits()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        picks = torch.randint(len(labels), (128,), generator=generator)
        loss = F.cross_entropy(net(images[picks]), labels[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name, mask in (masks or {}).items():
                net.get_parameter(name).mul_(mask)
    return net.eval()


@functools.cache
def trained(seed: int) -> nn.Sequential:
    """64 numbers to 10 scores, two hidden layers of 96; half a second."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10))
    return _fit(net, seed, 300)


class Rounded(nn.Module):
    """A linear layer with weights on a grid of `bits`, and activations on one of 8 bits if `both`.

    Rounding has slope zero almost everywhere. `straight` lets the gradient pass as if nothing had been rounded
    (Bengio, Léonard and Courville 2013); without it no gradient comes through.
    """

    def __init__(self, linear: nn.Linear, bits: int, both: bool, straight: bool):
        super().__init__()
        self.weight = storage.on_grid(linear.weight, Grid(bits)).weight()
        self.bias, self.both, self.straight = linear.bias.detach(), both, straight

    def forward(self, x: Tensor) -> Tensor:
        """(n, k) to (n, rows)."""
        if self.both:
            step = x.detach().abs().amax(1, keepdim=True).clamp(min=1e-6) / 127
            rounded = (x / step).round() * step
            x = x + (rounded - x).detach() if self.straight else rounded
        return F.linear(x, self.weight, self.bias)


def rounded(net: nn.Sequential, bits: int, both: bool = True, straight: bool = True) -> nn.Sequential:
    """The network with its linear layers in `bits`."""
    return nn.Sequential(
        *(Rounded(part, bits, both, straight) if isinstance(part, nn.Linear) else part for part in net)
    )


def pruned(net: nn.Sequential, keep: float, seed: int) -> nn.Sequential:
    """The share `keep` of each matrix's weights, the largest; then 150 steps to recover."""
    net, masks = copy.deepcopy(net), {}
    for name, weight in net.named_parameters():
        if weight.dim() == 2:
            border = weight.detach().abs().flatten().kthvalue(round((1 - keep) * weight.numel())).values
            masks[name] = (weight.detach().abs() > border).float()
            with torch.no_grad():
                weight.mul_(masks[name])
    return _fit(net, seed + 1000, 150, masks)


def forms(seed: int) -> dict[str, nn.Module]:
    """The forms of the network of a seed, by name; the first is the network as it was trained."""
    net = trained(seed)
    return {
        "float32": net,
        "int8, weights and activations": rounded(net, 8),
        "int4 weights": rounded(net, 4, both=False),
        "3-bit weights": rounded(net, 3, both=False),
        "a tenth of the weights": pruned(net, 0.1, seed),
    }


def fgsm(net: nn.Module, images: Tensor, labels: Tensor, size: float) -> Tensor:
    """One step uphill in the loss, `size` in every pixel, which stays in 0 to 1 (Goodfellow et al. 2015)."""
    images = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(images), labels), images)
    return (images + size * slope.sign()).clamp(0, 1).detach()


def noisy(images: Tensor, size: float, seed: int) -> Tensor:
    """Every pixel up or down by `size`, by chance: as large as the adversary's step, without its aim."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, images.shape, generator=generator) * 2.0 - 1
    return (images + size * signs).clamp(0, 1)


def shaken(net: nn.Sequential, spread: float, seed: int) -> nn.Sequential:
    """A copy with noise on its weights: normal, `spread` times the standard deviation of each matrix."""
    net = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    for part in net:
        weight = getattr(part, "weight", None)
        if weight is not None:
            with torch.no_grad():
                zero = weight == 0
                weight.add_(spread * weight.std() * torch.randn(weight.shape, generator=generator))
                weight[zero] = 0  # a weight that is not stored cannot be disturbed
    return net


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that are read rightly."""
    return float((net(images).argmax(1) == labels).float().mean())


def trial(seed: int, size: float, attack: Attack = fgsm) -> dict[str, list[float]]:
    """Share right of each form of a seed's network: untouched, noise on pixels, noise on weights, attacked."""
    _, _, images, labels = digits()
    return {
        name: [
            accuracy(net, images, labels),
            accuracy(net, noisy(images, size, seed), labels),
            accuracy(shaken(net, 0.3, seed), images, labels),
            accuracy(net, attack(net, images, labels, size), labels),
        ]
        for name, net in forms(seed).items()
    }


def trials(seeds: Sequence[int], size: float, attack: Attack = fgsm) -> dict[str, np.ndarray]:
    """:func:`trial` for several seeds: {form: (seeds, 4)}."""
    found = [trial(seed, size, attack) for seed in seeds]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def masked(seed: int, size: float) -> dict[str, float]:
    """Share right of the int8 network under three attacks that differ in where their gradient comes from."""
    _, _, images, labels = digits()
    net = trained(seed)
    blind, straight = rounded(net, 8, straight=False), rounded(net, 8)
    return {
        "its own gradient, through rounding": accuracy(blind, fgsm(blind, images, labels, size), labels),
        "its own gradient, straight through": accuracy(blind, fgsm(straight, images, labels, size), labels),
        "made on the float32 network": accuracy(blind, fgsm(net, images, labels, size), labels),
    }
