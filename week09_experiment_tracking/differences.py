"""Where two runs of one program differ, and how far the last bit carries them apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from week09_experiment_tracking.training import digits, flat

WIDTH = 128


@dataclass(frozen=True)
class Variant:
    """How a run is done: what is the same for all unless it is named here."""

    seed: int = 0
    last_bit: bool = False  # the weights of the first layer start at the next float32 each
    order_in_batch: bool = False  # each batch holds the same pictures, in reverse
    threads: int = 1
    foreach: bool = True  # the optimizer's algorithm: all tensors together, or one after the other
    halves: bool = False  # the first product is computed in two halves, and added
    rate: float = 0.2  # of learning; with a momentum of 0.9 this is high, as schedules with a warm-up go


def network(seed: int, width: int = WIDTH) -> nn.Sequential:
    """Three layers for digits."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def run(variant: Variant, marks: Sequence[int], batch: int = 32) -> tuple[dict[int, torch.Tensor], float]:
    """Train to the last mark; weights as one vector after each mark (0 is the start), and the accuracy at the end."""
    threads, pictures, labels = torch.get_num_threads(), *digits()
    torch.set_num_threads(variant.threads)
    try:
        net = network(variant.seed)
        if variant.last_bit:
            with torch.no_grad():
                net[0].weight.copy_(torch.nextafter(net[0].weight, torch.tensor(torch.inf)))
        optimizer = torch.optim.SGD(net.parameters(), lr=variant.rate, momentum=0.9, foreach=variant.foreach)
        generator, kept = torch.Generator().manual_seed(variant.seed), {}
        for step in range(max(marks) + 1):
            if step in marks:
                kept[step] = flat(net).clone()
            rows = torch.randint(768, (batch,), generator=generator)
            rows = rows.flip(0) if variant.order_in_batch else rows
            loss = nn.functional.cross_entropy(_out(net, pictures[rows], variant.halves), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = (net(pictures[768:]).argmax(1) == labels[768:]).float().mean().item()
    finally:
        torch.set_num_threads(threads)
    return kept, right


def _out(net: nn.Sequential, x: torch.Tensor, halves: bool) -> torch.Tensor:
    if not halves:
        return net(x)
    weight = net[0].weight
    return net[1:](x[:, :32] @ weight[:, :32].T + x[:, 32:] @ weight[:, 32:].T + net[0].bias)


VARIANTS: Mapping[str, Variant] = {
    "again": Variant(),
    "last bits of the first layer": Variant(last_bit=True),
    "order within a batch": Variant(order_in_batch=True),
    "a product in two halves": Variant(halves=True),
    "two threads": Variant(threads=2),
    "another loop in the optimizer": Variant(foreach=False),
    "another seed": Variant(seed=1),
}


@dataclass(frozen=True)
class Apart:
    """Two runs: relative distance of their weights at each mark, and how much more often one is right, in points."""

    distances: dict[int, float]
    points: float


def apart(
    marks: Sequence[int], variants: Mapping[str, Variant] = VARIANTS, rate: float = 0.2
) -> dict[str, Apart]:
    """Each variant beside the plain run."""
    plain, right = run(Variant(rate=rate), marks)
    found = {}
    for name, variant in variants.items():
        other, theirs = run(replace(variant, rate=rate), marks)
        distances = {m: float((other[m] - plain[m]).norm() / plain[m].norm()) for m in sorted(plain)}
        found[name] = Apart(distances, 100 * (theirs - right))
    return found


def last_bits(seeds: Sequence[int], step: int) -> list[float]:
    """For each seed, the relative distance after so many steps that the last bits of the first layer have made."""
    found = []
    for seed in seeds:
        one, two = (run(Variant(seed=seed, last_bit=bit), [step])[0][step] for bit in (False, True))
        found.append(float((one - two).norm() / one.norm()))
    return found


def spread(seeds: int, step: int) -> tuple[float, float]:
    """Mean and standard deviation over seeds of the accuracy after so many steps, in percent."""
    rights = [100 * run(Variant(seed=seed), [step])[1] for seed in range(seeds)]
    return float(np.mean(rights)), float(np.std(rights, ddof=1))


class Noisy(Dataset):
    """48 numbers; each comes with a random one, drawn in one of three ways."""

    def __init__(self, draw: str):
        self.draw = draw

    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> float:
        if self.draw == "global generator":
            return torch.rand(()).item()
        if self.draw == "own generator of the data set":
            # made in the first call; each worker has a copy of the data set, and so makes the same one
            if not hasattr(self, "generator"):
                self.generator = np.random.default_rng(7)
            return float(self.generator.random())
        return float(np.random.default_rng([7, 0, index]).random())  # seed, epoch, index


DRAWS = ("global generator", "own generator of the data set", "seed, epoch, index")


def drawn(draw: str, workers: int) -> list[float]:
    """What one epoch draws with so many workers."""
    loader = DataLoader(
        Noisy(draw), batch_size=8, num_workers=workers, generator=torch.Generator().manual_seed(0)
    )
    torch.manual_seed(0)
    return [value for batch in loader for value in batch.tolist()]


def deterministic(function: Callable[[], object], fill: bool = False) -> Callable[[], object]:
    """The same call under `use_deterministic_algorithms`; `fill` also fills new memory, as is the default."""

    def call() -> object:
        before = (
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        )
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = fill
        try:
            return function()
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.utils.deterministic.fill_uninitialized_memory = before[1]

    return call
