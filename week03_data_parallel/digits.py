"""A small real problem: 8 x 8 images of handwritten digits, and a network that learns them in a second."""

import copy
import functools
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy

from effdl import memory
from week03_data_parallel import compression, learning_rate, optimizers, wire
from week03_data_parallel.data_parallel import DataParallel
from week03_data_parallel.races import interleaved

TRAINING = 1437  # images; the other 360 are for validation


@functools.cache
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 images as [n, 64] float32 between 0 and 1, and labels [n] int64, in a fixed random order."""
    # The file alone: to import scikit-learn takes each rank seconds.
    package = importlib.util.find_spec("sklearn")
    if package is None:
        raise FileNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    data = torch.tensor(np.loadtxt(path, delimiter=",", dtype=np.int64))
    data = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(0))]
    return data[:, :-1].float() / 16, data[:, -1]


def network(seed: int = 0, width: int = 128) -> nn.Sequential:
    """Three layers: 64 inputs, twice `width`, 10 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


@torch.no_grad()
def training_loss(model: nn.Module) -> float:
    """Mean cross-entropy over the training images."""
    x, y = images()
    return float(cross_entropy(model(x[:TRAINING]), y[:TRAINING]))


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Share of the validation images that are classified correctly."""
    x, y = images()
    return float((model(x[TRAINING:]).argmax(1) == y[TRAINING:]).float().mean())


def batches(batch: int, seed: int, parts: int = 1):
    """Endless batches of training images: each epoch in a new random order, a short rest dropped.

    With `parts` above 1 only one range of digits, the one with the number `seed`: of two, 0 to 4 or 5 to 9.
    """
    x, y = images()
    generator = torch.Generator().manual_seed(seed)
    pool = torch.arange(TRAINING)
    if parts > 1:
        pool = pool[y[:TRAINING] * parts // 10 == seed]
    while True:
        order = pool[torch.randperm(len(pool), generator=generator)]
        for indices in order[: len(pool) // batch * batch].view(-1, batch):
            yield x[indices], y[indices]


def train(
    optimizer: optimizers.Optimizer,
    model: nn.Module,
    batch: int,
    steps: int,
    policy: Callable[[int], float] = lambda step: 1.0,
    every: int = 10,
    target: float = 0.0,
) -> list[tuple[int, float]]:
    """Train in this process; return (step, training loss) every `every` steps, until `steps` or the loss `target`.

    `policy(step)` multiplies the learning rate.
    """
    curve, peak = [(0, training_loss(model))], optimizer.lr
    for step, (x, y) in zip(range(steps), batches(batch, seed=1), strict=False):
        optimizer.lr = peak * policy(step)
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
        if (step + 1) % every == 0:
            curve.append((step + 1, training_loss(model)))
            if not curve[-1][1] > target:
                break
    return curve


def steps_to(target: float, batch: int, lr: float, most: int, warm: int = 0, seed: int = 0) -> float:
    """Steps of momentum until the training loss is `target` or less; inf if `most` are not enough."""
    model = network(seed)
    policy = functools.partial(learning_rate.warm_up, steps=warm)
    optimizer = optimizers.Momentum(model.parameters(), lr)
    curve = train(optimizer, model, batch, most, policy, every=5, target=target)
    return curve[-1][0] if curve[-1][1] <= target else float("inf")


RATES: dict[str, list[float]] = {
    name: [least * 2**k for k in range(6)]
    for name, least in {
        "SGD": 0.08,
        "momentum": 0.02,
        "AdaGrad": 0.008,
        "RMSProp": 0.002,
        "AdaDelta": 0.8,
        "Adam": 0.004,
        "AdamW": 0.004,
        "LARS": 0.004,
        "LAMB": 0.008,
    }.items()
}
"""Six learning rates to try for each optimizer: the best lies inside."""


@dataclass(frozen=True)
class Tuned:
    """An optimizer at its best rate; whether that lies inside the tried; the first seed's curve, all final losses."""

    rate: float
    inside: bool
    curve: list[tuple[int, float]]
    losses: list[float]


def final_losses(
    lr: float, policy: Callable[[int], float], batch: int, steps: int, seeds: int = 3
) -> list[float]:
    """Training losses after `steps` steps of SGD under a policy of the learning rate, one for each seed."""
    found = []
    for seed in range(seeds):
        model = network(seed, width=32)
        optimizer = optimizers.SGD(model.parameters(), lr)
        found.append(train(optimizer, model, batch, steps, policy, every=steps)[-1][1])
    return found


def state_copies(name: str) -> float:
    """What an optimizer allocates and keeps in its first step, in copies of the weights, by the allocator."""
    model = network()
    optimizer = optimizers.ALL[name](model.parameters(), 0.001)
    x, y = images()
    cross_entropy(model(x[:8]), y[:8]).backward()
    return memory.measure(optimizer.step).kept / sum(p.nbytes for p in model.parameters())


def tuned(name: str, batch: int, steps: int, seeds: int = 3) -> Tuned:
    """Train with each rate of `RATES` on one seed, then with the best on `seeds` seeds."""

    def final(lr: float, seed: int, every: int) -> list[tuple[int, float]]:
        model = network(seed)
        decay = {"weight_decay": 0.01} if name == "AdamW" else {}
        return train(optimizers.ALL[name](model.parameters(), lr, **decay), model, batch, steps, every=every)

    losses = [final(lr, 0, steps)[-1][1] for lr in RATES[name]]
    place = min(range(len(losses)), key=lambda k: losses[k] if losses[k] < math.inf else math.inf)
    rate = RATES[name][place]
    curve = final(rate, 0, max(1, steps // 12))
    others = [final(rate, seed, steps)[-1][1] for seed in range(1, seeds)]
    return Tuned(rate, 0 < place < len(losses) - 1, curve, [curve[-1][1], *others])


def tuned_on_rank(settings: list[tuple[int, int]]) -> dict[str, Tuned]:
    """Every optimizer by name, tuned. Called on as many ranks as there are settings, (batch, steps): one for each."""
    batch, steps = settings[dist.get_rank()]
    return {name: tuned(name, batch, steps) for name in optimizers.ALL}


METHODS: dict[str, tuple[Callable[[], compression.Dense], type[optimizers.Optimizer]]] = {
    "dense": (compression.Dense, optimizers.Momentum),
    "top-k 1 %": (lambda: compression.TopK(0.01), optimizers.Momentum),
    "top-k 1 %, no feedback": (lambda: compression.TopK(0.01, feedback=False), optimizers.Momentum),
    "top-k 1 %, own momentum": (lambda: compression.MomentumTopK(0.01), optimizers.SGD),
    "one bit": (compression.OneBit, optimizers.Momentum),
    "PowerSGD, rank 2": (lambda: compression.PowerSGD(2), optimizers.Momentum),
}
"""Ways to average gradients, by name, each with the optimizer that goes with it."""


def train_compressed_on_rank(names: list[str], steps: int, batch: int, lr: float) -> dict[str, list]:
    """On each rank: train with each method; return (bytes this rank sent, training loss) at every tenth step.

    The bytes are those that its TCP sockets counted. `batch` is that of one rank.
    """
    found = {}
    for name in names:
        make, kind = METHODS[name]
        model = network()
        wrapped = DataParallel(model, reduce=make())
        optimizer = kind(model.parameters(), lr)
        dist.barrier()
        curve, before = [(0, training_loss(model))], wire.socket_bytes()
        for step, (x, y) in zip(range(steps), batches(batch, seed=dist.get_rank()), strict=False):
            wrapped.zero_grad()
            cross_entropy(wrapped(x), y).backward()
            wrapped.finish()
            optimizer.step()
            if (step + 1) % 10 == 0:
                dist.barrier()  # what a send left in the kernel's buffer is not counted yet
                curve.append((wire.socket_bytes() - before, training_loss(model)))
        found[name] = curve
    return found


def average_times_on_rank(names: list[str], numel: int, rounds: int) -> tuple[dict, dict[str, int]]:
    """Seconds and bytes sent of one average of `numel` gradients by each method, in turns, on each rank."""
    side = math.isqrt(numel)
    ways, sent = {}, {}
    for name in names:
        wrapped = DataParallel(nn.Linear(side, side), bucket_bytes=2**30, reduce=METHODS[name][0]())
        [bucket] = wrapped.buckets
        bucket.flat.normal_(generator=torch.Generator().manual_seed(dist.get_rank()))
        gradient = bucket.flat.clone()

        def average(bucket=bucket, gradient=gradient, wrapped=wrapped):
            bucket.flat.copy_(gradient)
            wrapped.reduce(bucket)

        for _ in range(2):  # the first call opens connections
            dist.barrier()
            before = wire.socket_bytes()
            average()
            dist.barrier()
            sent[name] = wire.socket_bytes() - before
        ways[name] = average
    return interleaved(ways, rounds, warmup=1), sent


def bytes_to(loss: float, curve: list[tuple[float, float]]) -> float:
    """Bytes sent when the training loss of a curve first is `loss` or less; inf if it never is."""
    return next((sent for sent, value in curve if value <= loss), float("inf"))


def train_local_on_rank(
    periods: list[int], steps: int, batch: int, lr: float, apart: bool = False
) -> dict[int, list]:
    """Local SGD on each rank: average the *weights* every H steps, for each H of `periods`.

    With `apart` a rank sees digits of its own only: of two ranks, one has 0 to 4 and the other 5 to 9.
    Returns (step, training loss of the averaged weights, messages so far) at every tenth step.
    """
    found = {}
    for period in periods:
        model, averaged = network(), 0
        optimizer = optimizers.SGD(model.parameters(), lr)
        curve = [(0, training_loss(model), 0)]
        own = batches(batch, dist.get_rank(), dist.get_world_size() if apart else 1)
        for step, (x, y) in zip(range(1, steps + 1), own, strict=False):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            if step % period == 0:
                average_weights(model)
                averaged += 1
            if step % 10 == 0:
                probe = copy.deepcopy(model)
                average_weights(probe)
                curve.append((step, training_loss(probe), averaged))
        found[period] = curve
    return found


@torch.no_grad()
def average_weights(model: nn.Module) -> None:
    """Replace every parameter by its mean over the ranks, in one all-reduce."""
    flat = nn.utils.parameters_to_vector(model.parameters())
    dist.all_reduce(flat)
    nn.utils.vector_to_parameters(flat / dist.get_world_size(), model.parameters())
