"""Which activations to keep: checkpointing plans of a chain of modules, what they cost, and the best of them.

A plan is a tuple. A number i means: run module i and keep all that its backward pass needs. A tuple inside means: run
these modules, keep only what goes into the first, and when the backward pass arrives there, follow the inner plan.
So `(0, 1, 2, 3)` keeps everything, `((0, 1), 2, 3)` computes the first two modules twice, `(((0,), 1), 2, 3)` the
first one three times.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from effdl import memory
from effdl.device import device
from effdl.transformer import Transformer
from week04_large_models.checkpoint import checkpoint

Plan = tuple[Any, ...]
Module = Callable[[torch.Tensor], torch.Tensor]

# ---------------------------------------------------------------------------------------------------------------
# Plans by rule
# ---------------------------------------------------------------------------------------------------------------


def plain(n: int) -> Plan:
    """Keep everything."""
    return tuple(range(n))


def every(n: int, size: int = 1) -> Plan:
    """Segments of `size` modules, of which the inputs are kept; the last segment is not worth forgetting."""
    segments = [tuple(range(start, min(start + size, n))) for start in range(0, n, size)]
    return (*segments[:-1], *segments[-1])


def square_root(n: int) -> Plan:
    """About √n segments of √n modules: Chen, Xu, Zhang & Guestrin, 2016, section 4.2."""
    return every(n, round(math.sqrt(n)))


def halving(n: int, first: int = 0) -> Plan:
    """Forget the first half, keep the middle, and halve each half again: about log2 n inputs are kept at a time."""
    if n == 1:
        return (first,)
    half = n // 2
    return (halving(half, first), *halving(n - half, first + half))


def modules_of(plan: Plan) -> list[int]:
    """The numbers of all modules of a plan, in order."""
    return [i for item in plan for i in ([item] if isinstance(item, int) else modules_of(item))]


def visits(plan: Plan) -> Iterator[tuple[str, int]]:
    """("forward" or "backward", module) for each run of a module, in the order in which `step` makes them."""
    if not plan:
        return
    first, *rest = plan
    if isinstance(first, int):
        yield "forward", first
        yield from visits(rest)
        yield "backward", first
    else:
        yield from (("forward", i) for i in modules_of(first))
        yield from visits(rest)
        yield from visits(first)


# ---------------------------------------------------------------------------------------------------------------
# A plan executed
# ---------------------------------------------------------------------------------------------------------------


def step(modules: Sequence[Module], plan: Plan, x: torch.Tensor) -> torch.Tensor:
    """One forward and backward pass by a plan; gradients are added to the parameters' `.grad`.

    The last module returns the loss, a scalar, which is returned without its history. A module that is run again
    draws the random numbers of its first run. Raises ValueError if the plan is not one of all modules in order.
    """
    if modules_of(plan) != list(range(len(modules))):
        raise ValueError(f"a plan of {len(modules)} modules names each once and in order, not {plan}")
    losses = []

    def finish(loss: torch.Tensor) -> torch.Tensor:
        losses.append(loss.detach())
        return torch.ones_like(loss)

    twice = {i for item in plan if not isinstance(item, int) for i in modules_of(item)}
    states: list[torch.Tensor] = []
    ready = [_SameDraw(module, states) if i in twice else module for i, module in enumerate(modules)]
    _reverse(ready, plan, x, finish)
    return losses[0]


def _reverse(modules: Sequence[Module], plan: Plan, x: torch.Tensor, finish: Module) -> torch.Tensor | None:
    """Run a plan from x on, ask `finish` for the gradient of the output, go back; return the gradient of x."""
    if not plan:
        return finish(x)
    first, *rest = plan
    if isinstance(first, int):
        x = x.detach().requires_grad_(x.is_floating_point())
        y = modules[first](x)
        y.backward(_reverse(modules, rest, y.detach(), finish))
        return x.grad
    y = x
    with torch.no_grad():
        for i in modules_of(first):
            y = modules[i](y)
    gradient = _reverse(modules, rest, y, finish)
    del y  # its gradient is known: nobody needs it while the inside is computed again
    return _reverse(modules, first, x, lambda _: gradient)


class _SameDraw:
    """A module that starts each run with the random state of its first one, and leaves no trace of that.

    Modules share `states`, the generator's states so far: where nobody has drawn a number, there is only one.
    """

    def __init__(self, module: Module, states: list[torch.Tensor]):
        self.module, self.states, self.state = module, states, None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        generator = torch.cuda if x.is_cuda else torch
        if self.state is None:
            state = generator.get_rng_state()
            if not (self.states and torch.equal(self.states[-1], state)):
                self.states.append(state)
            self.state = self.states[-1]
            return self.module(x)
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            generator.set_rng_state(self.state)
            return self.module(x)


@contextlib.contextmanager
def selective(model: Transformer) -> Iterator[None]:
    """Inside, attention keeps queries, keys and values, and computes scores and weights again.

    Korthikanti et al., Reducing activation recomputation in large transformer models, MLSys 2023, section 5.
    """
    for block in model.blocks:
        block.attention.core = functools.partial(checkpoint, block.attention.core)
    try:
        yield
    finally:
        for block in model.blocks:
            del block.attention.core  # the instance's; the class has the method


# ---------------------------------------------------------------------------------------------------------------
# A plan predicted
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What one module of a chain needs. Bytes are above what was there before, its own input not counted."""

    output: int  # bytes of the output, and so of its gradient
    kept: int  # bytes that stay after a forward pass that keeps everything, with the output
    forward: int  # peak of a forward pass that keeps nothing, with the output
    both: int  # peak of a forward pass and its backward pass
    flops: float  # of a forward pass

    def __post_init__(self):
        if not 0 <= self.output <= min(self.kept, self.forward) or self.kept > self.both:
            raise ValueError(f"a module keeps at least its output, and no more than its peak: {self}")


def costs(modules: Sequence[Module], x: torch.Tensor) -> list[Cost]:
    """Measure each module of a chain by itself. Gradients of parameters must be allocated, not None."""
    from torch.utils.flop_counter import FlopCounterMode  # slow to import, and no rank of this week needs it

    found = []
    for module in modules:
        x = x.detach().requires_grad_(x.is_floating_point())
        with torch.no_grad():
            forward = memory.measure(module, x)
            with FlopCounterMode(display=False) as counter:
                module(x)
        gradient = torch.zeros_like(forward.result)

        def both(module=module, x=x, gradient=gradient) -> None:
            module(x).backward(gradient)

        found.append(
            Cost(
                forward.result.nbytes,
                memory.measure(module, x).kept,
                forward.peak,
                memory.measure(both).peak,
                float(counter.get_total_flops()),
            )
        )
        x = forward.result
    return found


def peak(plan: Plan, chain: Sequence[Cost]) -> int:
    """Bytes at the worst moment of `step`, above those of the input and of the parameters' gradients."""
    if not plan:
        return 0
    first, *rest = plan
    after = peak(rest, chain)
    if isinstance(first, int):
        one = chain[first]
        # Its gradient arrives from behind; at the end of the plan, whoever follows the plan has counted it.
        arriving = one.output if rest else 0
        return max(one.kept + after if rest else 0, one.both + arriving)
    inside = modules_of(first)
    output = chain[inside[-1]].output
    # Behind the segment its output is held; inside, the output's gradient.
    return max(_pass(chain, inside), output + after, output + peak(first, chain))


def _pass(chain: Sequence[Cost], inside: Sequence[int]) -> int:
    """Peak of running modules one after the other and keeping nothing but the last output."""
    held = [0, *(chain[i].output for i in inside)]
    return max(before + chain[i].forward for before, i in zip(held, inside, strict=False))


def again(plan: Plan, chain: Sequence[Cost]) -> float:
    """FLOPs that a plan computes for a second or a later time."""
    segments = [item for item in plan if not isinstance(item, int)]
    return sum(sum(chain[i].flops for i in modules_of(one)) + again(one, chain) for one in segments)


@dataclass(frozen=True)
class Run:
    """A plan that was predicted and executed."""

    plan: Plan
    predicted: int  # peak, bytes
    measured: int
    again: float  # FLOPs computed again, over those of a forward pass


def compare(
    modules: Sequence[Module], named: Mapping[str, Plan], x: torch.Tensor, chain: Sequence[Cost]
) -> dict[str, Run]:
    """Predict each plan from the costs of the modules, and execute it, for the second time with its peak measured."""
    forward = sum(cost.flops for cost in chain)
    return {
        name: Run(plan, peak(plan, chain), measured_peak(modules, plan, x), again(plan, chain) / forward)
        for name, plan in named.items()
    }


def measured_peak(modules: Sequence[Module], plan: Plan, x: torch.Tensor) -> int:
    """Bytes at the worst moment of `step`, by the allocator; the step runs once before, unmeasured."""
    step(modules, plan, x)
    return memory.measure(step, modules, plan, x).peak


# ---------------------------------------------------------------------------------------------------------------
# The best plan
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """A plan, its peak in bytes, and the FLOPs that it computes again."""

    peak: int
    again: float
    plan: Plan


def optimal(chain: Sequence[Cost]) -> list[Choice]:
    """Every plan of a chain that is the cheapest for some limit of memory, from the largest peak to the smallest.

    Dynamic programming over sections of the chain, in the manner of Griewank & Walther (ACM TOMS 2000) and, for
    modules that differ, of Beaumont et al. (Optimal checkpointing for heterogeneous chains, 2019). In place of a
    table over discrete limits it keeps, for each section, all pairs of peak and cost of which none is worse in both.
    """

    @functools.cache
    def section(s: int, t: int) -> list[Choice]:
        if s == t:
            return [Choice(chain[s].both, 0.0, (s,))]
        keep = chain[s]
        found = [
            Choice(max(keep.kept + c.peak, keep.both + keep.output), c.again, (s, *c.plan))
            for c in section(s + 1, t)
        ]
        for k in range(s + 1, t + 1):
            inside = range(s, k)
            run, flops = _pass(chain, inside), sum(chain[i].flops for i in inside)
            output = chain[k - 1].output
            for after, within in itertools.product(section(k, t), section(s, k - 1)):
                worst = max(run, output + after.peak, output + within.peak)
                found.append(Choice(worst, flops + after.again + within.again, (within.plan, *after.plan)))
        return _front(found)

    return section(0, len(chain) - 1)


def _front(choices: list[Choice]) -> list[Choice]:
    """Those that no other beats in both peak and cost, by rising cost."""
    front: list[Choice] = []
    for choice in sorted(choices, key=lambda c: (c.again, c.peak)):
        if not front or choice.peak < front[-1].peak:
            front.append(choice)
    return front


def best(choices: Sequence[Choice], limit: int) -> Choice:
    """The choice that repeats least with a peak of at most `limit` bytes. Raises ValueError if there is none."""
    for choice in choices:
        if choice.peak <= limit:
            return choice
    raise ValueError(f"no plan needs at most {limit:,} bytes; the least is {choices[-1].peak:,}")


def smallest(choices: Sequence[Choice], limit: float) -> Choice:
    """The choice with the smallest peak that repeats at most `limit` FLOPs."""
    return [choice for choice in choices if choice.again <= limit][-1]


# ---------------------------------------------------------------------------------------------------------------
# Chains to try them on
# ---------------------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """tanh of a linear layer: it keeps its output, and its input is its neighbour's. Chen's unit of a chain."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width) to the same shape."""
        return torch.tanh(self.linear(x))


def layers(n: int, width: int) -> list[Module]:
    """n - 1 equal layers and a loss, the mean of squares."""
    return [*(Layer(width).to(device()) for _ in range(n - 1)), lambda x: x.square().mean()]


def peaks_by_depth(
    rules: Mapping[str, Callable[[int], Plan]], depths: Sequence[int], width: int, rows: int
) -> dict[str, list[int]]:
    """Measured peaks of chains of equal layers, for each rule a list by depth."""
    found: dict[str, list[int]] = {name: [] for name in rules}
    for depth in depths:
        chain = layers(depth, width)
        prepare(chain)
        x = torch.randn(rows, width, device=device())
        for name, rule in rules.items():
            found[name].append(measured_peak(chain, rule(depth), x))
    return found


def prepare(modules: Sequence[Module]) -> list[nn.Parameter]:
    """Give every parameter a gradient of zeros, so that a step allocates only what its plan decides."""
    found = [p for module in modules if isinstance(module, nn.Module) for p in module.parameters()]
    for parameter in found:
        parameter.grad = torch.zeros_like(parameter)
    return found
