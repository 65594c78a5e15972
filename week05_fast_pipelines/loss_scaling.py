"""Mixed precision on a task small enough for true float16 on a CPU: scaling in our own lines; what goes wrong.

The task: digits of 8 by 8 pixels (scikit-learn's), a network of three hidden layers. All runs start from the
same weights and see the same batches.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRAINING = 1500  # images; the other 297 are held out


@dataclass(frozen=True)
class Scale:
    """The factor of the loss, and for how many steps in a row no gradient has overflowed.

    Micikevicius et al., Mixed precision training, 2018, section 3.2; the constants are those of torch.amp.
    """

    value: float = 2.0**16
    clean: int = 0
    interval: int = 2000

    def after(self, finite: bool) -> "Scale":
        """The scale of the next step: half after an overflow, twice after `interval` steps without one."""
        if not finite:
            return replace(self, value=self.value / 2, clean=0)
        if self.clean + 1 == self.interval:
            return replace(self, value=self.value * 2, clean=0)
        return replace(self, clean=self.clean + 1)


def scaled_step(
    loss: Tensor, optimizer: torch.optim.Optimizer, scale: Scale, clip: float | None = None
) -> Scale:
    """One step with a scaled loss, left out if a gradient overflowed; returns the scale of the next step.

    Args:
        clip: the largest norm of all gradients together, as they are without the scale.
    """
    optimizer.zero_grad()
    (loss * scale.value).backward()
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    for grad in grads:
        grad.div_(scale.value)
    norm = torch.nn.utils.get_total_norm(grads)
    finite = bool(norm.isfinite())  # one infinite or NaN gradient makes the norm so
    if finite:
        if clip is not None and norm > clip:
            for grad in grads:
                grad.mul_(clip / norm)
        optimizer.step()
    return scale.after(finite)


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """All images as (1797, 64) float32 between 0 and 1, and their digits (1797,) int64, in a fixed random order."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(pixels / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]


def network(width: int = 128) -> nn.Sequential:
    """64 pixels to 10 logits through three hidden layers, float32, the same weights at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = [nn.Linear(64, width), nn.ReLU()]
        for _ in range(2):
            hidden += [nn.Linear(width, width), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(width, 10))


def batches(steps: int, size: int = 100) -> Iterator[tuple[Tensor, Tensor]]:
    """The training images in order, again and again: (size, 64) and (size,)."""
    pixels, labels = digits()
    for step in range(steps):
        first = step * size % TRAINING
        yield pixels[first : first + size], labels[first : first + size]


@dataclass
class Run:
    """What a training run came to."""

    model: nn.Module
    loss: float
    """Cross-entropy on the training images at the end, in nats; NaN if the weights are."""
    scales: list[float]
    """The loss scale of each step."""
    skipped: int = 0

    @property
    def accuracy(self) -> float:
        """Share of the held-out images that are recognised."""
        pixels, labels = (part[TRAINING:] for part in digits())
        return float((_logits(self.model, pixels).argmax(1) == labels).double().mean())


def _logits(model: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(pixels.to(next(model.parameters()).dtype)).float()


def _finished(model: nn.Module, scales: list[float]) -> Run:
    pixels, labels = (part[:TRAINING] for part in digits())
    loss = float(F.cross_entropy(_logits(model, pixels), labels))
    skipped = sum(later < earlier for earlier, later in itertools.pairwise(scales))
    return Run(model, loss, scales, skipped)


Optimizers = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]


def adam(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with its default constants."""
    return torch.optim.Adam(parameters, lr=1e-3)


def in_one_format(dtype: torch.dtype, steps: int, optimizer: Optimizers = adam) -> Run:
    """Train with weights, activations, gradients and optimizer state all in `dtype`."""
    model = network().to(dtype)
    chosen = optimizer(model.parameters())
    for pixels, labels in batches(steps):
        chosen.zero_grad()
        F.cross_entropy(model(pixels.to(dtype)), labels).backward()
        chosen.step()
    return _finished(model, [1.0] * steps)


def ours(
    dtype: torch.dtype, steps: int, scale: Scale, optimizer: Optimizers = adam, clip: float | None = None
) -> Run:
    """Train in mixed precision: float32 weights, autocast to `dtype`, our loss scaling."""
    model, scales = network(), []
    chosen = optimizer(model.parameters())
    for pixels, labels in batches(steps):
        scales.append(scale.value)
        with torch.autocast("cpu", dtype=dtype):
            loss = F.cross_entropy(model(pixels), labels)
        scale = scaled_step(loss, chosen, scale, clip)
    return _finished(model, [*scales, scale.value])


def theirs(
    dtype: torch.dtype,
    steps: int,
    scale: Scale,
    optimizer: Optimizers = adam,
    clip: float | None = None,
    unscale_first: bool = True,
) -> Run:
    """The same with `torch.amp.GradScaler`. Without `unscale_first`, clipping sees scaled gradients: a mistake."""
    model, scales = network(), []
    chosen = optimizer(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=scale.value, growth_interval=scale.interval)
    for pixels, labels in batches(steps):
        scales.append(scaler.get_scale())
        chosen.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            loss = F.cross_entropy(model(pixels), labels)
        scaler.scale(loss).backward()
        if clip is not None:
            if unscale_first:
                scaler.unscale_(chosen)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(chosen)
        scaler.update()
    return _finished(model, [*scales, scaler.get_scale()])


# ---- the ways it goes wrong, each with its cure


def unmoved(dtype: torch.dtype, steps: int, lr: float) -> float:
    """Share of the weights whose gradient is not zero and that are where they were after `steps` steps of plain SGD.

    Weights in `dtype`; gradients are computed from a float32 copy, so that only the update can vanish.
    """
    model, start = network(), network()
    stored = [p.detach().to(dtype) for p in model.parameters()]
    seen = [torch.zeros_like(p, dtype=torch.bool) for p in model.parameters()]
    for pixels, labels in batches(steps):
        with torch.no_grad():
            for p, value in zip(model.parameters(), stored, strict=True):
                p.copy_(value)
        model.zero_grad()
        F.cross_entropy(model(pixels), labels).backward()
        for p, value, some in zip(model.parameters(), stored, seen, strict=True):
            some |= p.grad != 0
            value.sub_((lr * p.grad).to(dtype))
    pairs = zip(stored, start.parameters(), seen, strict=True)
    still = [(value == p.detach().to(dtype))[some] for value, p, some in pairs]
    return float(torch.cat(still).double().mean())


def error_of_backward(inside: bool) -> float:
    """Error of a gradient whose forward pass was kept in float32 on purpose, with backward inside of autocast or not.

    Returns the length of the error as a share of the gradient's; the exact one is computed in float64.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 64, generator=generator, requires_grad=True)
    x = torch.randn(32, 64, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.autocast("cpu", enabled=False):
            loss = (x @ weight).square().mean()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    wide = weight.detach().double().requires_grad_()
    (x.double() @ wide).square().mean().backward()
    assert weight.grad is not None
    assert wide.grad is not None
    return float((weight.grad - wide.grad).norm() / wide.grad.norm())


def rms_norm(x: Tensor, widened: bool) -> Tensor:
    """Divide each row by the root of its mean square, which is computed in float32 if `widened`; (..., width)."""
    wide = x.float() if widened else x
    return (wide * wide.square().mean(-1, keepdim=True).rsqrt()).to(x.dtype)


def count_to(n: int, dtype: torch.dtype) -> float:
    """What a running sum of n ones in `dtype` comes to."""
    total = torch.zeros((), dtype=dtype)
    for _ in range(n):
        total += 1
    return float(total)


@dataclass(frozen=True)
class Mistake:
    """One way in which mixed precision goes wrong."""

    name: str
    wrong: str
    cured: str
    cure: str
    silent: bool
    """Whether nothing but the result tells: no error, no NaN."""


def mistakes(steps: int) -> list[Mistake]:
    """Run all mistakes and their cures. `steps` is the number of training steps of those that train."""
    half, start = torch.float16, Scale()
    sgd: Optimizers = functools.partial(torch.optim.SGD, lr=0.5)
    careful: Optimizers = functools.partial(torch.optim.Adam, lr=1e-3, eps=1e-4)
    nan = in_one_format(half, steps)
    large = torch.full((1, 64), 300.0, dtype=half)
    clip = [[theirs(half, steps, start, o, 1.0, first) for o in (sgd, adam)] for first in (False, True)]
    too_early, unscaled = (
        "loss {:.3g}; with Adam {:.3g}".format(*(run.loss for run in pair)) for pair in clip
    )
    loss, share = "loss {:.3g}".format, "{:.0%} of the weights never move".format
    return [
        Mistake(
            "all in float16, Adam",
            loss(nan.loss),
            loss(theirs(half, steps, start).loss),
            f"float32 weights and state (eps=1e-4 hides it: {loss(in_one_format(half, steps, careful).loss)})",
            math.isfinite(nan.loss),
        ),
        Mistake(
            "float16 weights, small steps",
            share(unmoved(half, 50, 1e-4)),
            share(unmoved(torch.float32, 50, 1e-4)),
            "float32 master weights",
            True,
        ),
        Mistake(
            "clip before unscale",
            too_early,
            unscaled,
            "scaler.unscale_(optimizer) first",
            True,
        ),
        Mistake(
            "backward inside of autocast",
            f"error {error_of_backward(True):.1g}",
            f"error {error_of_backward(False):.1g}",
            "leave autocast before backward",
            True,
        ),
        Mistake(
            "your own norm in float16",
            f"norm of 300s is {float(rms_norm(large, False)[0, 0]):g}",
            f"{float(rms_norm(large, True)[0, 0]):g}",
            "compute the mean square in float32",
            True,
        ),
        Mistake(
            "sum the losses in bfloat16",
            f"1,000 ones make {count_to(1000, torch.bfloat16):g}",
            f"{count_to(1000, torch.float32):g}",
            "sum in float32, or in Python",
            True,
        ),
    ]
