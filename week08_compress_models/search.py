"""Architecture search: a table of measured latencies, one network for all candidates, evolution beside random search.

Cai, Zhu and Han, ProxylessNAS, ICLR 2019 and Wu et al., FBNet, CVPR 2019 (tables of latency); Guo et al., Single path
one-shot, ECCV 2020; Real et al., Regularized evolution, AAAI 2019; Yu et al., Evaluating the search phase of neural
architecture search, ICLR 2020 (what shared weights tell about ranks).
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from effdl import bench
from week08_compress_models import small_images
from week08_compress_models.cheap_layers import separable

CHANNELS, PLACES = 16, 4
KNOWN = 900  # pictures that train; the other 300 of the training set choose
CHOICES = ("nothing", "1 x 1", "separable 3 x 3", "separable 5 x 5", "3 x 3")
Architecture = tuple[int, ...]
EVERY: list[Architecture] = list(itertools.product(range(len(CHOICES)), repeat=PLACES))
"""All 625."""


def layer(choice: int) -> nn.Module:
    """One of the choices; each keeps the shape (n, 16, rows, columns)."""
    return (
        nn.Identity,
        lambda: nn.Conv2d(CHANNELS, CHANNELS, 1),
        lambda: separable(CHANNELS, 3),
        lambda: separable(CHANNELS, 5),
        lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
    )[choice]()


class Place(nn.Module):
    """A residual layer with one choice, or with several of which `chosen` says the one that runs."""

    def __init__(self, choices: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleDict({str(c): layer(c) for c in choices})
        self.chosen = choices[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 16, rows, columns) to the same shape."""
        return x if self.chosen == 0 else x + self.layers[str(self.chosen)](x).relu()


class Network(nn.Module):
    """A first convolution, two places, a pool, two places, a pool, a linear layer: (n, 1, 8, 8) to (n, 10)."""

    def __init__(self, choices: Sequence[Sequence[int]]):
        super().__init__()
        self.first = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.places = nn.ModuleList(Place(c) for c in choices)
        self.last = nn.Linear(4 * CHANNELS, 10)

    def set(self, architecture: Architecture) -> "Network":
        """Choose a path, in a network that has it; the network itself."""
        for place, choice in zip(self.places, architecture, strict=True):
            place.chosen = choice
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 1, 8, 8) to scores (n, 10)."""
        x = self.first(x).relu()
        for number, place in enumerate(self.places):
            x = place(x)
            if number % 2:
                x = nn.functional.max_pool2d(x, 2)
        return self.last(x.flatten(1))


def alone(architecture: Architecture, seed: int = 0) -> Network:
    """A network that has this path and no other."""
    return small_images.made(lambda: Network([[c] for c in architecture]), seed)  # type: ignore[return-value]


def shared(steps: int, seed: int = 0) -> Network:
    """A network with all choices, trained on a path drawn anew for each step."""
    network = small_images.made(lambda: Network([range(len(CHOICES))] * PLACES), seed)
    paths = np.random.default_rng(seed).integers(0, len(CHOICES), (steps + 1, PLACES))
    network.set(tuple(paths[-1]))
    small_images.train(network, steps, seed, count=KNOWN, after=lambda step: network.set(tuple(paths[step])))
    return network


@torch.no_grad()
def shared_accuracies(network: Network, architectures: Sequence[Architecture]) -> dict[Architecture, float]:
    """Per cent that each path of a shared network reads rightly, of 300 pictures that nobody trained on."""
    x, y = (part[KNOWN:] for part in small_images.digits()[:2])
    return {a: 100 * float((network.set(a)(x).argmax(-1) == y).float().mean()) for a in architectures}


def alone_accuracies(architectures: Sequence[Architecture], steps: int) -> list[float]:
    """Per cent of the judging pictures, for networks trained one by one on the same 900."""
    torch.set_num_threads(1)
    return [small_images.accuracy(small_images.train(alone(a), steps, 0, count=KNOWN)) for a in architectures]


# Latency --------------------------------------------------------------------------------------------------


def latency_table(
    batch: int, whole: Sequence[Architecture] = (), pairs: int = 40
) -> tuple[dict[tuple[int, int], float], list[float]]:
    """Seconds of each (place, choice): a network with this layer alone, less one without any, which is (-1, 0).

    Places with pictures of one size share a measurement: it takes nine networks, not 625. Seconds of `whole` networks
    come second; they are timed by turns with the nine, so that a busy minute of the machine touches both.
    """
    without, x = (0,) * PLACES, torch.rand(batch, 1, 8, 8)
    known = list(itertools.product((0, 2), range(1, len(CHOICES))))
    calls = {without: alone(without).eval()}
    for place, choice in known:
        one = (*without[:place], choice, *without[place + 1 :])
        calls[one] = alone(one).eval()
    known_networks = list(calls)
    calls |= {a: alone(a).eval() for a in whole if a not in calls}
    with torch.inference_mode():
        times = bench.compare({str(a): lambda n=n: n(x) for a, n in calls.items()}, pairs=pairs, warmup=3)
    rest = times.median(str(without))
    table = {(-1, 0): rest} | {(place, 0): 0.0 for place in range(PLACES)}
    for one in known_networks:
        for place in (p for p in (0, 2) if one[p]):
            table[place, one[place]] = table[place + 1, one[place]] = times.median(str(one)) - rest
    return table, [times.median(str(a)) for a in whole]


def predicted(architecture: Architecture, table: Mapping[tuple[int, int], float]) -> float:
    """Seconds of a whole network as the sum of the table's entries."""
    return table[-1, 0] + sum(table[place, choice] for place, choice in enumerate(architecture))


def macs(architecture: Architecture) -> int:
    """MACs of a network for one picture."""
    per = (0, CHANNELS**2, CHANNELS**2 + 9 * CHANNELS, CHANNELS**2 + 25 * CHANNELS, 9 * CHANNELS**2)
    return (
        64 * 9 * CHANNELS
        + 40 * CHANNELS
        + sum((64, 64, 16, 16)[place] * per[choice] for place, choice in enumerate(architecture))
    )


# Search ---------------------------------------------------------------------------------------------------

Score = Mapping[Architecture, float]


def random_search(score: Score, evaluations: int, seed: int) -> list[float]:
    """The best score after each of so many different candidates, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(score))[:evaluations]
    candidates = list(score)
    return list(np.maximum.accumulate([score[candidates[i]] for i in order]))


def evolution(
    score: Score, evaluations: int, seed: int, population: int = 16, sample: int = 5
) -> list[float]:
    """The same by regularized evolution: the best of a small sample has a child with one change, the oldest goes.

    A child that was judged before, or is not in the table, is drawn again: each evaluation is of a new candidate.
    """
    draw, candidates = np.random.default_rng(seed), list(score)
    alive = [candidates[i] for i in draw.permutation(len(candidates))[:population]]
    seen = list(alive)
    while len(seen) < evaluations:
        parent = max((alive[i] for i in draw.permutation(len(alive))[:sample]), key=score.__getitem__)
        for _ in range(20):
            child = list(parent)
            child[draw.integers(PLACES)] = int(draw.integers(len(CHOICES)))
            if tuple(child) in score and tuple(child) not in seen:
                break
        else:
            child = candidates[draw.integers(len(candidates))]
            if child in seen:
                continue
        seen.append(tuple(child))
        alive = [*alive[1:], tuple(child)]
    return list(np.maximum.accumulate([score[a] for a in seen]))
