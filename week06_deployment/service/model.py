"""The model: digits of 8 x 8 pixels, read by a small residual network that learns in seconds.

The images come with scikit-learn (1,797 of them, from the UCI repository). The network is deeper than they need. A
pass over one image is a hundred small operations, each of which takes about as long for one image as for eight: what
a large network does on a GPU. That is what batching is for.
"""

import fcntl
import hashlib
import threading
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from effdl.data import cache_folder

SIDE = 8
CHANNELS, BLOCKS = 16, 8
HELD_OUT = 6
"""Every sixth image is kept from the training."""


class Block(nn.Module):
    """Two convolutions beside a straight line (He et al., 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # so that forty layers train like a straight line at first

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(torch.relu(self.first(torch.relu(x))))


class Reader(nn.Module):
    """(images, 1, 8, 8) of float32 in 0 to 1 in, (images, 10) of logits out."""

    def __init__(self, channels: int = CHANNELS, blocks: int = BLOCKS):
        super().__init__()
        self.inside = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.outside = nn.Linear(channels * SIDE * SIDE, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.outside(self.blocks(self.inside(x)).flatten(1))


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All images (1797, 8, 8) of float32 in 0 to 1, and their labels (1797,) of int64."""
    from sklearn.datasets import load_digits  # here, because a service that has its weights does without

    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)


def train(epochs: int = 3, batch: int = 50, rate: float = 3e-3, seed: int = 0) -> Reader:
    """Train a reader on all images but the held-out ones; a few seconds on one core."""
    seen = np.arange(1797) % HELD_OUT > 0
    images, labels = (torch.from_numpy(array[seen]) for array in digits())
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Reader()
    steps = epochs * -(-len(images) // batch)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=generator).split(batch):
            loss = nn.functional.cross_entropy(model(images[index][:, None]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def weights() -> Path:
    """The file of the trained weights in the cache folder; trained now if there is none, or the code changed."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    path = cache_folder() / f"digits-{version}.pt"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers start together: one trains, the others wait for it
        if not path.exists():
            draft = path.with_suffix(".part")
            torch.save(train().state_dict(), draft)
            draft.replace(path)
    return path


def load(path: Path | None = None) -> Reader:
    """The trained reader, from a file of weights, or from the cache."""
    model = Reader()
    model.load_state_dict(torch.load(path or weights(), weights_only=True))
    return model.eval()


class Classifier:
    """What a batcher runs: (n, 8, 8) of float32 pixels in, (n, 10) of float32 probabilities out."""

    def __init__(self, model: nn.Module | None = None):
        self.model = model or load()
        self.ready = threading.local()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        # Here and not once for all: the setting belongs to the thread that calls (OpenMP), and the batcher's is not
        # the one that loaded the model. Workers are processes; two threads in each only wait for each other's core.
        if not hasattr(self.ready, "done"):
            torch.set_num_threads(1)
            self.ready.done = True
        with torch.inference_mode():
            return self.model(torch.from_numpy(images)[:, None]).softmax(1).numpy()


if __name__ == "__main__":
    print(weights())
