"""Batch normalisation over the batches of all ranks, written so that autograd finds the backward pass itself."""

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_reduce


def normalise_over_ranks(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Normalise [B, C] with mean and variance of the joined batch of all ranks; B is the same on each.

    Two passes and two collectives: the mean first, then the squares of what is left. The collectives are
    differentiable: in the backward pass, the gradient of a sum over ranks is a sum over ranks.
    """
    samples = len(x) * dist.get_world_size()
    centred = x - all_reduce(x.sum(0)) / samples
    variance = all_reduce((centred**2).sum(0)) / samples
    return centred * torch.rsqrt(variance + eps)


def compare_on_rank(joined: torch.Tensor, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """On a rank: output and input gradient of its part of a batch, normalised over all ranks and on its own.

    `joined` and `cotangent` are [B, C], the same on every rank.
    """
    world, rank = dist.get_world_size(), dist.get_rank()
    result = {}
    ways = {
        "all ranks": normalise_over_ranks,
        "own batch": lambda x: (x - x.mean(0)) / x.std(0, correction=0),
    }
    for name, normalise in ways.items():
        x = joined.tensor_split(world)[rank].clone().requires_grad_()
        y = normalise(x)
        (y * cotangent.tensor_split(world)[rank]).sum().backward()
        result[name] = torch.stack([y.detach(), x.grad])
    return result
