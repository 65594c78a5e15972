"""Training that can be stopped at any step and goes on as if nothing had been."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from classifier import data
from classifier.model import network


class Run:
    """A training: `params` has "model" and "train" as in params.yaml; `step()` until `finished`."""

    def __init__(self, params: dict[str, Any], images: np.ndarray, labels: np.ndarray):
        self.options = train = params["train"]
        torch.manual_seed(train["seed"])  # the weights, then dropout
        self.model = network(**params["model"])
        self.velocity = [torch.zeros_like(weights) for weights in self.model.parameters()]
        images, labels = data.augmented(images, labels)
        self.x, self.y = torch.from_numpy(data.scaled(images)), torch.from_numpy(labels)
        self.shuffling = np.random.default_rng(train["seed"])
        self.waiting: list[np.ndarray] = []
        self.steps = 0

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.steps >= self.options["epochs"] * -(-len(self.x) // self.options["batch"])

    def step(self) -> float:
        """Train on the next batch and return its loss."""
        if not self.waiting:
            order = self.shuffling.permutation(len(self.x))
            self.waiting = data.batches(len(order), self.options["batch"], order)
        batch = torch.from_numpy(self.waiting.pop(0))
        self.model.train()
        loss = cross_entropy(self.model(self.x[batch]), self.y[batch])
        weights = list(self.model.parameters())
        # SGD with momentum; torch.optim imports the compiler, which doubles the start of each stage and each test.
        with torch.no_grad():
            for one, velocity, gradient in zip(
                weights, self.velocity, torch.autograd.grad(loss, weights), strict=True
            ):
                velocity.mul_(self.options["momentum"]).add_(gradient)
                one.sub_(self.options["lr"] * velocity)
        self.steps += 1
        return loss.item()

    def state(self) -> dict[str, Any]:
        """All that decides what follows, in types that torch.load reads with weights_only."""
        return {
            "model": self.model.state_dict(),
            "velocity": self.velocity,
            "dropout": torch.get_rng_state(),
            "shuffling": self.shuffling.bit_generator.state,
            "waiting": [torch.from_numpy(batch) for batch in self.waiting],
            "steps": self.steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put back what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.velocity = state["velocity"]
        torch.set_rng_state(state["dropout"])
        self.shuffling.bit_generator.state = state["shuffling"]
        self.waiting = [batch.numpy() for batch in state["waiting"]]
        self.steps = state["steps"]


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray, batch: int = 256) -> float:
    """Share of images that are classified rightly, 0 to 1. The model is left in the mode that it was in."""
    mode = model.training
    model.eval()
    x, y = torch.from_numpy(data.scaled(images)), torch.from_numpy(labels)
    right = sum(
        int((model(x[start : start + batch]).argmax(1) == y[start : start + batch]).sum())
        for start in range(0, len(x), batch)
    )
    model.train(mode)
    return right / len(x)


def save(run: Run, path: Path) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never half of one."""
    draft = path.with_suffix(".draft")
    torch.save(run.state(), draft)
    os.replace(draft, path)


def train(
    run: Run, checkpoint: Path, every: int, report: Callable[[int, float], None], crash_at: int = -1
) -> None:
    """Train to the end from the checkpoint, if there is one; `report(step, loss)` at every checkpoint.

    `crash_at` is for exercises: at this step the process kills itself with SIGKILL, which nothing can catch.
    """
    if checkpoint.exists():
        run.restore(torch.load(checkpoint, weights_only=True))
    while not run.finished:
        loss = run.step()
        if run.steps % every == 0:
            save(run, checkpoint)
            report(run.steps, loss)
        if run.steps == crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.unlink(missing_ok=True)
