"""What a step of PyTorch's optimizers costs, on many weights and on few."""

from collections.abc import Callable

import torch

KINDS: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict, int]] = {
    "SGD": (torch.optim.SGD, {}, 3),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, 5),
    "AdaGrad": (torch.optim.Adagrad, {}, 5),
    "AdamW": (torch.optim.AdamW, {}, 7),
}
"""By name: class, options, and how many copies of the weights a step must read or write at least.

SGD reads weights and gradients and writes weights; each copy of state is read and written too.
"""


def steps(numel: int, fused: bool) -> dict[str, Callable[[], None]]:
    """A step of each optimizer of `KINDS` on one tensor; `fused`: in one pass over it."""
    ways = {}
    for name, (make, options, _) in KINDS.items():
        weights = torch.nn.Parameter(torch.full((numel,), 0.01))
        weights.grad = torch.full((numel,), 0.01)
        ways[name] = make([weights], lr=1e-6, fused=fused, foreach=False, **options).step
    return ways
