"""What the cures save: each alone, one after the other, and in the opposite order, timed in interleaved rounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from effdl import bench, memory
from effdl.device import device
from week05_fast_pipelines import cures, slow_training

FORWARD = tuple(cures.CURES)
BACKWARD = tuple(reversed(FORWARD))


def forward(parts: slow_training.Parts) -> Callable[[], torch.Tensor]:
    """A forward pass of the script's model over one batch, and nothing else."""
    model, tokens = slow_training.Model(parts), parts.read(slow_training.handbook(slow_training.BATCH))
    return lambda: model(tokens[:, :-1])


def loss(model: torch.nn.Module) -> float:
    """Nats a character of a trained model over the script's whole text, the same for all models."""
    tokens = cures.read(slow_training.handbook())
    with torch.no_grad():
        logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()


@dataclass(frozen=True)
class Saving:
    """One step of a waterfall, in seconds of a pass."""

    reason: str
    before: float
    after: float

    @property
    def saved(self) -> float:
        """Seconds; less than zero where the cure makes the script slower."""
        return self.before - self.after


def name(reasons: Sequence[str]) -> str:
    """The name under which the script with these reasons cured is timed."""
    return " + ".join(reason for reason in FORWARD if reason in reasons) or "nothing"


def a_pass(reasons: Sequence[str]) -> Callable[[], slow_training.Result]:
    """One pass of the script with these reasons cured."""
    parts = cures.cured(*reasons)
    return lambda: slow_training.train(parts)


def race(pairs: int = 3) -> bench.Comparison:
    """Time the script with nothing cured, with each cure alone, and with the first so many of both orders."""
    variants = [(), *((reason,) for reason in FORWARD)]
    variants += [order[:count] for order in (FORWARD, BACKWARD) for count in range(2, len(FORWARD) + 1)]
    passes = {name(reasons): a_pass(reasons) for reasons in variants}
    return bench.compare(passes, pairs=pairs, warmup=0)


def waterfall(times: bench.Comparison, order: Sequence[str]) -> list[Saving]:
    """What each cure saves when they are made in this order, by the quickest pass of each version."""
    # A disturbance can only make a pass longer. Savings are differences, and need more than a median of few rounds.
    seconds = [min(times.timings[name(order[:count])].samples) for count in range(len(order) + 1)]
    return [Saving(*step) for step in zip(order, seconds, seconds[1:], strict=False)]


def shares(steps: Sequence[Saving]) -> dict[str, float]:
    """The share of everything saved that each cure of a waterfall has."""
    whole = steps[0].before - steps[-1].after
    return {step.reason: step.saved / whole if whole else 0.0 for step in steps}


def norms_of_a_view(count: int) -> bench.Ratio:
    """Time of so many layer norms of a transposed matrix, over that of one copy and the norms of the copy."""
    view = torch.randn(1024, 1024).t()

    def norms(x: torch.Tensor) -> None:
        for _ in range(count):
            F.layer_norm(x, (1024,))

    times = {"view": lambda: norms(view), "copy": lambda: norms(view.contiguous())}
    return bench.compare(times, pairs=7).ratio("view", "copy")


def temporaries(widths: Sequence[int], way: str) -> int:
    """Bytes that a step of PyTorch's Adam needs besides what is there: "foreach", "fused" or "loop"."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(width, width, device=device())) for width in widths]
    options = {"foreach": way == "foreach", "fused": way == "fused"}
    optimizer = torch.optim.Adam(parameters, **options)
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizer.step()  # makes the moments
    return memory.measure(optimizer.step).peak
