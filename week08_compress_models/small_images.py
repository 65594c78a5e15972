"""Handwritten digits of 8 x 8 pixels, small networks for them, and a loop that trains.

The digits come with scikit-learn: 1,797 of 13 people (the test set of UCI's optdigits). The first 1,200 train; of the
other 597 most come from other writers.

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

TRAIN = 1200


@functools.cache
def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (n, 1, 8, 8) float32 from 0 to 1 and digits (n,) int64: both to train on, then both to judge by."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.images[:, None] / 16, dtype=torch.float32), torch.tensor(data.target)
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


def jittered(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures (n, 1, 8, 8), each turned by up to 14 degrees, zoomed by up to 15 % and moved by up to a pixel."""
    turn, zoom, right, down = (torch.rand(4, len(x), generator=generator) - 0.5) * torch.tensor(
        [[0.5], [0.3], [0.5], [0.5]]
    )
    cos, sin = turn.cos() * (1 + zoom), turn.sin() * (1 + zoom)
    maps = torch.stack((torch.stack((cos, -sin, right), 1), torch.stack((sin, cos, down), 1)), 1)
    return F.grid_sample(x, F.affine_grid(maps, list(x.shape), align_corners=False), align_corners=False)


def convolutional(first: int = 16, second: int = 16, third: int = 32, dropout: float = 0.0) -> nn.Sequential:
    """Three 3 x 3 convolutions, two of them followed by a pool, and a linear layer: (n, 1, 8, 8) to (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(second, third, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4 * third, 10),
    )


def made(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train(
    model: nn.Module,
    steps: int,
    seed: int,
    peak: float = 1e-2,
    batch: int = 64,
    jitter: bool = False,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    after: Callable[[int], None] | None = None,
    count: int = TRAIN,
) -> nn.Module:
    """Adam with one cycle of the learning rate on the first `count` pictures. The model itself, in eval mode.

    `loss(images, chosen)` replaces the cross-entropy; `after(step)` is called behind each step.
    """
    x, y = (part[:count] for part in digits()[:2])
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()
        for step in range(steps):
            chosen = torch.randint(len(x), (batch,), generator=generator)
            images = jittered(x[chosen], generator) if jitter else x[chosen]
            value = loss(images, chosen) if loss else F.cross_entropy(model(images), y[chosen])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            if after:
                after(step)
    return model.eval()


@torch.no_grad()
def accuracy(model: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Per cent of the 597 judging pictures that the model reads rightly."""
    _, _, x, y = digits()
    return 100 * float((model(x).argmax(-1) == y).float().mean())


@functools.cache
def teacher() -> nn.Module:
    """A network trained on pictures that are turned, zoomed and moved anew in each step; some three seconds, once."""
    return train(made(lambda: convolutional(dropout=0.3), 1), 400, 1, jitter=True)
