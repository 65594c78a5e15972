"""Steps to a goal for many learning rates and seeds at once: the networks are trained side by side, as one stack.

A sweep of nine rates and three seeds is 27 networks of the same shape. Their weights are stacked, so that a matrix
product of the whole stack (`baddbmm`) serves all; a network that has arrived, or has diverged, leaves the stack.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from week03_data_parallel import digits, optimizers
from week03_data_parallel.data_parallel import DataParallel
from week03_data_parallel.races import interleaved

WIDTH = 32
"""Units of each hidden layer: small, so that a sweep takes seconds."""
PATIENCE = 1.3
"""A rate that needs this many times the steps of the best so far is given up: it is not the best."""
CHECK = 1.04
"""The validation loss is looked at after so many times the steps of the last look: that is the resolution."""


class Stack:
    """Networks as [networks, ...] tensors, each with a learning rate and a seed; SGD or Adam changes them all."""

    def __init__(self, rates: Sequence[float], seeds: Sequence[int], adam: bool):
        networks = [list(digits.network(seed, WIDTH).parameters()) for seed in seeds]
        starts = [torch.stack([p.detach() for p in same]) for same in zip(*networks, strict=True)]
        self.weights = [start.repeat(len(rates), *[1] * (start.dim() - 1)) for start in starts]
        self.moments = [[torch.zeros_like(w) for w in self.weights] for _ in range(2)] if adam else []
        self.rates = torch.tensor(rates, dtype=torch.float32).repeat_interleave(len(seeds))
        self.seeds = torch.arange(len(seeds)).repeat(len(rates))
        self.numbers = torch.arange(len(self.rates))
        self.steps = 0

    def losses(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of each network on its own batch, x [networks, B, 64], y [networks, B]."""
        for layer in range(0, len(self.weights), 2):
            weight, bias = self.weights[layer : layer + 2]
            x = torch.baddbmm(bias.unsqueeze(1), x if layer == 0 else x.relu(), weight.transpose(1, 2))
        return cross_entropy(x.flatten(0, 1), y.flatten(), reduction="none").view(len(x), -1).mean(1)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """One step of every network on its own batch."""
        self.steps += 1
        for weight in self.weights:
            weight.requires_grad_()
        gradients = torch.autograd.grad(self.losses(x, y).sum(), self.weights)
        self.weights = [weight.detach() for weight in self.weights]
        for number, (weight, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
            direction = self._adam(number, gradient) if self.moments else gradient
            weight -= self.rates.view(-1, *[1] * (weight.dim() - 1)) * direction

    def _adam(self, number: int, gradient: torch.Tensor) -> torch.Tensor:
        mean, squares = self.moments[0][number], self.moments[1][number]
        mean.lerp_(gradient, 0.1)
        squares.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        return (mean / (1 - 0.9**self.steps)) / ((squares / (1 - 0.999**self.steps)).sqrt() + 1e-8)

    def keep(self, which: torch.Tensor) -> None:
        """Let the other networks go."""
        self.weights = [weight[which] for weight in self.weights]
        self.moments = [[moment[which] for moment in same] for same in self.moments]
        self.rates, self.seeds, self.numbers = self.rates[which], self.seeds[which], self.numbers[which]


def steps_to(
    goal: float,
    batch: int,
    rates: Sequence[float],
    seeds: Sequence[int],
    most: int = 4000,
    adam: bool = False,
) -> np.ndarray:
    """Steps until the validation loss is `goal` or less: [rates, seeds], to a resolution of 4 %.

    inf for what diverged, took more than `most` steps, or was given up because another rate had long arrived.
    The three seeds are three starts and three orders of the images, the same for all rates.
    """
    x, y = digits.images()
    held_out = x[digits.TRAINING :], y[digits.TRAINING :]
    stack, found = Stack(rates, seeds, adam), np.full(len(rates) * len(seeds), np.inf)
    generators = [torch.Generator().manual_seed(100 + seed) for seed in seeds]
    position, look, end = digits.TRAINING, 1, most
    for step in range(1, most + 1):
        if position + batch > digits.TRAINING:
            orders = torch.stack([torch.randperm(digits.TRAINING, generator=g) for g in generators])
            position = 0
        mine = orders[stack.seeds, position : position + batch]
        position += batch
        stack.step(x[mine], y[mine])
        if step >= look:
            look = max(step + 1, math.floor(step * CHECK))
            count = len(stack.numbers)
            losses = stack.losses(held_out[0].expand(count, -1, -1), held_out[1].expand(count, -1))
            found[stack.numbers[losses <= goal]] = step
            stack.keep((losses > goal) & (losses < 20))
            middle = np.median(found.reshape(len(rates), -1), axis=1).min()
            end = min(end, PATIENCE * middle)
        if step >= end or not len(stack.numbers):
            break
    return found.reshape(len(rates), len(seeds))


def sweep_on_rank(
    goal: float, batches: Sequence[int], rates: dict[str, Sequence[float]], seeds: Sequence[int]
) -> dict[int, np.ndarray]:
    """What `steps_to` finds for each batch. Called on two ranks: each takes one of the optimizers, SGD and Adam."""
    name = ("SGD", "Adam")[dist.get_rank()]
    return {batch: steps_to(goal, batch, rates[name], seeds, adam=name == "Adam") for batch in batches}


def best(steps: np.ndarray, rates: Sequence[float]) -> tuple[float, float]:
    """(rate with the fewest steps, its median over the seeds) from what `steps_to` returned."""
    medians = np.median(steps, axis=1)
    return float(rates[int(medians.argmin())]), float(medians.min())


def fit_noise(batches: Sequence[int], steps: Sequence[float]) -> tuple[float, float]:
    """(least steps, critical batch) of S = S_min (1 + B_crit / B), fitted to the logs of the steps.

    McCandlish, Kaplan, Amodei et al., An empirical model of large-batch training, 2018.
    """
    inverse, logs = 1 / np.array(batches, dtype=float), np.log(steps)
    grid = np.geomspace(1, 1e4, 2000)
    shapes = np.log1p(grid[:, None] * inverse)
    least = (logs - shapes).mean(axis=1)
    error = ((logs - shapes - least[:, None]) ** 2).sum(axis=1)
    chosen = int(error.argmin())
    return float(np.exp(least[chosen])), float(grid[chosen])


def noise_scale(model: torch.nn.Module) -> float:
    """tr(S) / |g|^2 over the training images: S is the covariance of one sample's gradient, g their mean.

    At a batch of this size, the noise in the mean gradient is as long as the gradient itself.
    """
    x, y = (tensor[: digits.TRAINING] for tensor in digits.images())
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, image, label):
        return cross_entropy(functional_call(model, parameters, (image[None],)), label[None])

    by_sample = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    flat = torch.cat([gradient.flatten(1) for gradient in by_sample.values()], dim=1)
    mean = flat.mean(0)
    return float((flat - mean).square().sum(1).mean() / mean.square().sum())


def noise_along_training(batch: int, lr: float, at: Sequence[int]) -> list[tuple[int, float, float]]:
    """(step, training loss, noise scale) of one run of SGD, at the given steps."""
    model = digits.network(0, WIDTH)
    optimizer, found = optimizers.SGD(model.parameters(), lr), []
    for step, (x, y) in zip(range(max(at) + 1), digits.batches(batch, seed=1), strict=False):
        if step in at:
            found.append((step, digits.training_loss(model), noise_scale(model)))
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return found


def step_seconds_on_rank(batches: Sequence[int], rounds: int) -> dict[int, list[float]]:
    """Seconds of a training step at each batch of the whole group, in turns; called on every rank."""
    x, y = digits.images()
    model = digits.network(0, WIDTH)
    wrapped, optimizer = DataParallel(model), optimizers.SGD(model.parameters(), 0.01)

    def step(batch):
        share = batch // dist.get_world_size()
        wrapped.zero_grad()
        cross_entropy(wrapped(x[:share]), y[:share]).backward()
        wrapped.finish()
        optimizer.step()

    return interleaved({batch: functools.partial(step, batch) for batch in batches}, rounds, warmup=2)
