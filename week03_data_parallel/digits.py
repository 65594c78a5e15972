"""A small real problem: 8 x 8 images of handwritten digits, and a network that learns them in a second."""

import copy
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy

from week03_data_parallel import compression, learning_rate, optimizers
from week03_data_parallel.data_parallel import DataParallel

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


def batches(batch: int, seed: int):
    """Endless batches of training images: each epoch in a new random order, a short rest dropped."""
    x, y = images()
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(TRAINING, generator=generator)
        for indices in order[: TRAINING // batch * batch].view(-1, batch):
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


def steps_to(target: float, batch: int, lr: float, most: int, momentum: bool = False, warm: int = 0) -> float:
    """Steps of SGD until the training loss is `target` or less; inf if `most` are not enough."""
    model = network()
    kind = optimizers.Momentum if momentum else optimizers.SGD
    policy = functools.partial(learning_rate.warm_up, steps=warm)
    curve = train(kind(model.parameters(), lr), model, batch, most, policy, every=5, target=target)
    return curve[-1][0] if curve[-1][1] <= target else float("inf")


LEARNING_RATES = {
    "SGD": 0.3,
    "momentum": 0.1,
    "AdaGrad": 0.03,
    "RMSProp": 0.003,
    "Adam": 0.01,
    "LARS": 0.01,
    "LAMB": 0.01,
}
"""The best of three rates for each optimizer, with batches of 64 images."""


def train_with_each(batch: int, steps: int) -> tuple[dict[str, optimizers.Optimizer], dict[str, list]]:
    """The same network and batches with each of `optimizers.ALL`: the optimizers, and the curves of `train`."""
    used, learned = {}, {}
    for name, lr in LEARNING_RATES.items():
        model = network()
        used[name] = optimizers.ALL[name](model.parameters(), lr)
        learned[name] = train(used[name], model, batch, steps)
    return used, learned


METHODS: dict[str, Callable[[], compression.Dense]] = {
    "dense": compression.Dense,
    "top-k 1 %": lambda: compression.TopK(0.01),
    "top-k 1 %, no feedback": lambda: compression.TopK(0.01, feedback=False),
    "one bit": compression.OneBit,
    "PowerSGD, rank 2": lambda: compression.PowerSGD(2),
}
"""Ways to average gradients, by name."""


def train_compressed_on_rank(names: list[str], steps: int, batch: int, lr: float) -> dict[str, list]:
    """On each rank: train with momentum and each method; return (bytes this rank sent, training loss) by step.

    `batch` is that of one rank.
    """
    found = {}
    for name in names:
        model, reduce = network(), METHODS[name]()
        wrapped = DataParallel(model, reduce=reduce)
        optimizer = optimizers.Momentum(model.parameters(), lr)
        curve = [(0, training_loss(model))]
        for step, (x, y) in zip(range(steps), batches(batch, seed=dist.get_rank()), strict=False):
            wrapped.zero_grad()
            cross_entropy(wrapped(x), y).backward()
            wrapped.finish()
            optimizer.step()
            if (step + 1) % 10 == 0:
                curve.append((reduce.sent, training_loss(model)))
        found[name] = curve
    return found


def bytes_to(loss: float, curve: list[tuple[float, float]]) -> float:
    """Bytes sent when the training loss of a curve first is `loss` or less; inf if it never is."""
    return next((sent for sent, value in curve if value <= loss), float("inf"))


def train_local_on_rank(periods: list[int], steps: int, batch: int, lr: float) -> dict[int, list]:
    """Local SGD on each rank: average the *weights* every H steps, for each H of `periods`.

    Returns (step, training loss of the averaged weights, messages so far) at every tenth step.
    """
    found = {}
    for period in periods:
        model, averaged = network(), 0
        optimizer = optimizers.SGD(model.parameters(), lr)
        curve = [(0, training_loss(model), 0)]
        for step, (x, y) in zip(range(1, steps + 1), batches(batch, seed=dist.get_rank()), strict=False):
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
