"""The track: data, target, clock, and the three recipes that start the list.

A recipe is a function `train(inputs, targets, seed)` that returns a network. Inputs are (1200, 1, 8, 8) float32 from
0 to 1 on the track's device, targets (1200,) int64. The network maps inputs of that shape to 10 logits.
"""

import functools
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

TRAIN = 1200
TARGET = 0.08
"""The mean validation loss (cross-entropy in nats, 597 digits) that a recipe must reach."""

Recipe = Callable[[torch.Tensor, torch.Tensor, int], nn.Module]


@functools.cache
def data(device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """Training inputs and targets, validation inputs and targets; always the same split of scikit-learn's digits."""
    inputs, targets = load_digits(return_X_y=True)
    mixed = np.random.default_rng(0).permutation(len(inputs))
    x = torch.tensor(inputs[mixed] / 16, dtype=torch.float32, device=device).view(-1, 1, 8, 8)
    y = torch.tensor(targets[mixed], device=device)
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


@dataclass(frozen=True)
class Run:
    """One run of a recipe: its seed, the validation loss at the end, and the seconds on the clock."""

    seed: int
    loss: float
    seconds: float


def timed(recipe: Recipe, seed: int, device: str = "cpu") -> Run:
    """Run a recipe once. The clock starts with the data in memory, before the network is made, and stops when the
    recipe has returned and the device has finished. Validation comes after it."""
    inputs, targets, judges, answers = data(device)
    finish = torch.cuda.synchronize if device != "cpu" else lambda: None
    finish()
    start = time.perf_counter()
    model = recipe(inputs.clone(), targets.clone(), seed)
    finish()
    seconds = time.perf_counter() - start
    return Run(seed, validation_loss(model, judges, answers), seconds)


@torch.no_grad()
def validation_loss(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Mean cross-entropy in evaluation mode."""
    return float(F.cross_entropy(model.eval()(inputs), targets))


def session(recipes: dict[str, Recipe], runs: int, where: str, first_seed: int = 0) -> dict[str, list[Run]]:
    """All recipes in turns, one seed after another; a run of each before counts for nothing."""
    for recipe in recipes.values():
        timed(recipe, first_seed + runs, where)
    found = {name: [] for name in recipes}
    for seed in range(first_seed, first_seed + runs):
        for name, recipe in recipes.items():
            found[name].append(timed(recipe, seed, where))
    return found


def load(path: Path) -> Recipe:
    """The function `train` of a file."""
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    if spec is None:
        raise ValueError(f"{path} is no Python file; give one whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "train", None)):
        raise ValueError(f"{path} has no function train(inputs, targets, seed); write one")
    return module.train


# The recipes. Each differs from the one before by one thing.

BATCH = 64


def network(seed: int, device: torch.device) -> nn.Module:
    """Two convolutions and two linear layers, 39,000 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    ).to(device)  # fmt: skip


def cooled(done: float) -> float:
    """The share of the peak rate after a share of the training: up for a tenth, flat, down for the last half."""
    return min((done + 0.01) / 0.1, 1.0, (1 - done) / 0.5)


def fit(model, optimisers, inputs, targets, seed, updates, schedule=None, after=None):
    """Train for a fixed number of updates, in a new order each epoch; `after(update, model)` may look on."""
    generator = torch.Generator().manual_seed(seed)
    peaks = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
    whole = len(inputs) // BATCH
    for update in range(updates):
        if update % whole == 0:
            order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        chosen = order[update % whole * BATCH :][:BATCH]
        groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * (schedule(update / updates) if schedule else 1.0)
        model.zero_grad()
        F.cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        for optimiser in optimisers:
            optimiser.step()
        if after:
            after(update, model)
    return model


def adam(inputs, targets, seed, updates=260, after=None):
    """Adam at a constant rate: the baseline."""
    model = network(seed, inputs.device)
    return fit(
        model, [torch.optim.Adam(model.parameters(), 3e-3)], inputs, targets, seed, updates, after=after
    )


def adam_cooled(inputs, targets, seed, updates=150, after=None):
    """The same with the rate warmed up and cooled down."""
    model = network(seed, inputs.device)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    return fit(model, [optimiser], inputs, targets, seed, updates, cooled, after)


def muon_cooled(inputs, targets, seed, updates=125, after=None):
    """The same, with Muon for the large matrix (K. Jordan et al., 2024), Adam for the rest."""
    model = network(seed, inputs.device)
    matrix = model[6].weight
    rest = [p for p in model.parameters() if p is not matrix]
    optimisers = [torch.optim.Muon([matrix], lr=0.02, weight_decay=0.0), torch.optim.Adam(rest, 5e-3)]
    return fit(model, optimisers, inputs, targets, seed, updates, cooled, after)


RECIPES: dict[str, Recipe] = {"adam": adam, "adam, cooled": adam_cooled, "muon, cooled": muon_cooled}
BASELINE = "adam"
