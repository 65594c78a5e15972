"""A training loop that draws from three generators, and keeps all of its state in one place.

A network of two layers learns digits. PyTorch's generator draws its dropout, NumPy's the noise on the pictures,
Python's which pictures are flipped; the order of the data is a permutation for each epoch.
"""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

BATCH = 32


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,024 pictures (1024, 64) float32 in [0, 1], and their digits (1024,) int64."""
    pictures, labels = load_digits(return_X_y=True)
    return torch.tensor(pictures[:1024] / 16, dtype=torch.float32), torch.tensor(labels[:1024])


class Training:
    """Network, optimizer, schedule, data order and generators. `step()` is one step; `state()` is all of it."""

    def __init__(self, seed: int = 0):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        self.pictures, self.labels = digits()
        self.net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 10))
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=3e-3)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 200)
        self.steps = 0
        self.order: list[int] = []
        self.losses: list[float] = []

    def step(self) -> float:
        """One step of training; its loss."""
        if not self.order:
            self.order = torch.randperm(len(self.pictures)).tolist()
        batch, self.order = self.order[:BATCH], self.order[BATCH:]
        x = self.pictures[batch] + torch.from_numpy(
            np.random.normal(0, 0.05, (len(batch), 64)).astype(np.float32)
        )
        x = x.flip(1) if random.random() < 0.1 else x
        loss = nn.functional.cross_entropy(self.net(x), self.labels[batch])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.steps += 1
        self.losses.append(loss.item())
        return self.losses[-1]

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, in tensors, numbers and lists, for `weights_only=True`."""
        kind, words, *rest = np.random.get_state()
        version, numbers, gauss = random.getstate()
        return {
            "weights": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "torch generator": torch.get_rng_state(),
            "numpy generator": [kind, torch.from_numpy(words.astype(np.int64)), *rest],
            "python generator": [version, list(numbers), gauss],
            "data order": list(self.order),
            "log": {"steps": self.steps, "losses": list(self.losses)},
        }

    def load(self, state: dict[str, Any], without: str = "") -> None:
        """Go on from a state. `without` names a part that stays as a fresh run has it: what people forget."""
        parts = {name: value for name, value in state.items() if name != without}
        self.net.load_state_dict(parts["weights"])
        self.steps, self.losses = parts["log"]["steps"], list(parts["log"]["losses"])
        if "optimizer" in parts:
            self.optimizer.load_state_dict(parts["optimizer"])
        if "schedule" in parts:
            self.schedule.load_state_dict(parts["schedule"])
        if "data order" in parts:
            self.order = list(parts["data order"])
        if "numpy generator" in parts:
            kind, words, *rest = parts["numpy generator"]
            np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
        if "python generator" in parts:
            version, numbers, gauss = parts["python generator"]
            random.setstate((version, tuple(numbers), gauss))
        if "torch generator" in parts:
            torch.set_rng_state(parts["torch generator"])

    def digest(self) -> str:
        """SHA-256 of weights and optimizer, to the last bit."""
        digest = hashlib.sha256()
        for tensor in tensors([self.net.state_dict(), self.optimizer.state_dict()]):
            digest.update(tensor.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()


def tensors(tree: Any) -> Iterator[torch.Tensor]:
    """All tensors of a tree of dicts and lists, in order."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(value)


def flat(net: nn.Module) -> torch.Tensor:
    """All weights as one vector."""
    return torch.cat([weight.detach().reshape(-1) for weight in net.parameters()])
