"""The gradients of a small transformer, recorded in float32, and what each number format makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week05_fast_pipelines.number_formats import FP32, Format, round_to

RECORDED = (nn.Linear, nn.LayerNorm)


def trained(config: Config, steps: int, batch: int, lr: float = 2e-3) -> Transformer:
    """A transformer after `steps` steps of AdamW on text that comes with Python."""
    model = Transformer(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for step in range(steps):
        tokens, targets = text_batch(step, batch, config.length)
        optimizer.zero_grad()
        next_token_loss(model(tokens), targets).backward()
        optimizer.step()
    return model


@dataclass(frozen=True)
class Gradients:
    """Gradients of one batch, each a flat float32 tensor."""

    activations: Tensor
    """With respect to the outputs of all linear layers and norms."""
    parameters: Tensor


def _on_gradients(model: nn.Module, visit: Callable[[Tensor], Tensor | None]) -> list:
    """Call `visit` with the gradient of each linear layer's and norm's output; what it returns takes its place."""

    def forward_hook(_module, _inputs, output):
        output.register_hook(visit)

    return [m.register_forward_hook(forward_hook) for m in model.modules() if isinstance(m, RECORDED)]


def record(model: Transformer, tokens: Tensor, targets: Tensor) -> Gradients:
    """Run forward and backward once in float32 and keep all gradients; tokens and targets (batch, length) int64."""
    seen: list[Tensor] = []
    hooks = _on_gradients(model, lambda gradient: seen.append(gradient.detach().flatten().clone()))
    model.zero_grad()
    next_token_loss(model(tokens), targets).backward()
    for hook in hooks:
        hook.remove()
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return Gradients(torch.cat(seen), flat)


@dataclass(frozen=True)
class Fate:
    """Shares of the gradients that are not zero, after scaling and rounding to a format."""

    vanished: float
    """Became zero."""
    subnormal: float
    """Kept some bits only, zeros not counted."""
    overflowed: float
    """Became infinite or NaN."""


def fate(gradients: Tensor, form: Format, scale: float = 1.0) -> Fate:
    """What becomes of float32 gradients that are multiplied by `scale` and rounded to the format.

    Raises ValueError if all gradients are zero.
    """
    some = gradients[gradients != 0]
    if not some.numel():
        raise ValueError("all gradients are zero: there is nothing to round")
    rounded = round_to(some.double() * scale, form)
    zero = rounded == 0
    shares = (zero, (rounded.abs() < form.smallest_normal) & ~zero, ~rounded.isfinite())
    return Fate(*(float(share.double().mean()) for share in shares))


def smallest_scale(gradients: Tensor, form: Format, vanishing: float) -> int:
    """The smallest k from 0 for which a loss scale of 2**k leaves at most the share `vanishing` of them zero.

    Raises ValueError where 2**40 is not enough.
    """
    for k in range(41):
        if fate(gradients, form, 2.0**k).vanished <= vanishing:
            return k
    raise ValueError(f"more than {vanishing:g} of these gradients are zero in {form.name} even at 2**40")


def first_overflow(gradients: Tensor, form: Format) -> int:
    """The smallest k for which a gradient times 2**k overflows the format; below zero where one does without.

    Raises ValueError for a format in which nothing overflows, since it has neither infinity nor NaN.
    """
    if not (form.infinite or form.has_nan):
        raise ValueError(f"nothing overflows in {form.name}: what is too large saturates")
    peak = gradients.abs().max().double()
    k = -150
    while round_to(peak * 2.0**k, form).isfinite():
        k += 1
    return k


def rounded_gradient(
    model: Transformer, tokens: Tensor, targets: Tensor, form: Format, scale: float
) -> Tensor:
    """The parameters' gradient of one batch, all gradients rounded to the format on their way; flat, float64.

    The loss is multiplied by `scale`. Each gradient of a layer's output is rounded where it arrives, those of
    parameters at the end; products and sums inside of a layer are those of float32, as in a tensor core.
    """
    hooks = _on_gradients(model, lambda gradient: round_to(gradient, form)) if form is not FP32 else []
    model.zero_grad()
    (next_token_loss(model(tokens), targets) * scale).backward()
    for hook in hooks:
        hook.remove()
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return round_to(flat, form).double() / scale


def errors_by_scale(
    model: Transformer, tokens: Tensor, targets: Tensor, forms: Sequence[Format], exponents: Sequence[int]
) -> dict[str, list[float]]:
    """Error of the gradient as a share of its length, by format and loss scale 2**k; infinite after an overflow."""
    exact = rounded_gradient(model, tokens, targets, FP32, 1.0)

    def error(form: Format, k: int) -> float:
        found = rounded_gradient(model, tokens, targets, form, 2.0**k)
        apart = float((found - exact).norm() / exact.norm())
        return apart if apart == apart else float("inf")

    return {form.name: [error(form, k) for k in exponents] for form in forms}


# ---- weights in bfloat16


@dataclass(frozen=True)
class Continuation:
    """How far training came with weights that are rounded after each step."""

    way: float
    """The part of float32's way from start to end that was covered: its projection, 1 for float32."""
    moved: float
    """Share of the weights that differ from their start."""
    loss: float
    """Cross-entropy on text of its own, in nats."""


def continue_rounded(
    start: Transformer, form: Format, lr: float, steps: int, batch: int
) -> dict[str, Continuation]:
    """Train on from `start`, its weights rounded to `form`: in fp32, and with both ways of rounding after each step.

    The optimizer and all products work in float32; only what a step writes into the weights differs.
    """
    held_out = text_batch(10**6, 64, start.config.length)
    begin = _continue(start, form, "nearest", 0.0, 0, batch)
    first = nn.utils.parameters_to_vector(begin.parameters()).detach()
    ends, losses = {}, {}
    for how in ("fp32", "nearest", "stochastic"):
        model = _continue(start, form, how, lr, steps, batch)
        ends[how] = nn.utils.parameters_to_vector(model.parameters()).detach() - first
        with torch.no_grad():
            losses[how] = float(next_token_loss(model(held_out[0]), held_out[1]))
    way = ends["fp32"]
    return {
        how: Continuation(float(end @ way / (way @ way)), float((end != 0).double().mean()), losses[how])
        for how, end in ends.items()
    }


def _continue(start: Transformer, form: Format, how: str, lr: float, steps: int, batch: int) -> Transformer:
    model = Transformer(start.config)
    model.load_state_dict(start.state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(round_to(p, form))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0)
    for step in range(steps):
        tokens, targets = text_batch(10**5 + step, batch, start.config.length)
        optimizer.zero_grad()
        next_token_loss(model(tokens), targets).backward()
        optimizer.step()
        if how != "fp32":
            with torch.no_grad():
                for p in model.parameters():
                    p.copy_(round_to(p, form, how, generator=generator))
    return model
