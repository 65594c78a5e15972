"""Batch normalisation over the batches of all ranks, written so that autograd finds the backward pass itself."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.functional import cross_entropy

from week03_data_parallel import digits, optimizers
from week03_data_parallel.data_parallel import DataParallel


def normalise_over_ranks(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Normalise [B, C] with mean and variance of the joined batch of all ranks; B is the same on each.

    Two passes and two collectives: the mean first, then the squares of what is left. The collectives are
    differentiable: in the backward pass, the gradient of a sum over ranks is a sum over ranks.
    """
    samples = len(x) * dist.get_world_size()
    centred = x - all_reduce(x.sum(0)) / samples
    variance = all_reduce((centred**2).sum(0)) / samples
    return centred * torch.rsqrt(variance + eps)


class Normalised(nn.Module):
    """A network for the digits whose hidden layer is normalised, over all ranks or over this rank's batch alone."""

    def __init__(self, over_ranks: bool, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last, self.over_ranks = nn.Linear(64, 64), nn.Linear(64, 10), over_ranks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 64] to [B, 10]. In evaluation mode with the statistics of the batch that it is given."""
        x = self.first(x)
        if self.training and self.over_ranks:
            x = normalise_over_ranks(x)
        else:
            x = nn.functional.batch_norm(x, None, None, training=True)
        return self.last(x.relu())


def train_on_rank(
    batches: list[int], steps: int, lr: float, seeds: list[int]
) -> dict[int, dict[str, list[float]]]:
    """Training losses after `steps` steps, by samples on each rank and way to normalise; one for each seed."""
    ways = {"all ranks": True, "own batch": False}
    return {
        batch: {
            name: [_final_loss(batch, steps, lr, seed, over) for seed in seeds] for name, over in ways.items()
        }
        for batch in batches
    }


def _final_loss(batch: int, steps: int, lr: float, seed: int, over_ranks: bool) -> float:
    """The loss of all training images as one batch, so that only training differs."""
    x, y = (tensor[: digits.TRAINING] for tensor in digits.images())
    model = Normalised(over_ranks, seed)
    wrapped = DataParallel(model)
    optimizer = optimizers.Momentum(model.parameters(), lr)
    own = digits.batches(batch, seed=1000 * seed + dist.get_rank())
    for _, (inputs, labels) in zip(range(steps), own, strict=False):
        wrapped.zero_grad()
        cross_entropy(wrapped(inputs), labels).backward()
        wrapped.finish()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return float(cross_entropy(model(x), y))
