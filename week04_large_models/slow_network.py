"""What a slow network costs, and what hides it: real messages over links that the kernel paces (`traffic.pace`).

The cores compute, the kernel holds packets back: ranks and messages do not share a processor here, and so one can
hide behind the other as on real devices.
"""

import contextlib
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from week04_large_models.sharding import FullySharded
from week04_large_models.traffic import pace


def layers(count: int, width: int) -> nn.Sequential:
    """`count` linear layers with GELU between them: as many weights as arithmetic, and little else."""
    parts = [nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(count)]
    return nn.Sequential(*parts)


def prefetch_on_rank(count: int, width: int, rows: int, rate: float, rounds: int) -> dict[str, list[float]]:
    """On a rank: seconds of forward and backward through sharded layers, with prefetching and without, in turns.

    "no limit" is the same as "one unit ahead", without a limit on the link.
    """
    x, ways = torch.randn(rows, width), {}
    for name, prefetch in (("no limit", True), ("when needed", False), ("one unit ahead", True)):
        model = layers(count, width)
        ways[name] = FullySharded(model, list(model), prefetch)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, model in ways.items():
            pace(rate if name != "no limit" else 1e12)
            seconds = _timed(lambda model=model: (model(x).sum().backward(), model.finish()))
            if turn:
                samples[name].append(seconds)
    pace(1e12)
    return samples


def data_parallel_on_rank(
    count: int, width: int, rows: Sequence[int], rate: float, rounds: int
) -> dict[int, dict[str, list[float]]]:
    """On a rank, for each number of rows (tokens): seconds of a backward pass under DDP, in turns.

    "alone" sends nothing, "over the link" sums gradients in buckets while backward computes.
    """
    model = nn.parallel.DistributedDataParallel(layers(count, width), bucket_cap_mb=1)
    model(torch.randn(1, width)).sum().backward()  # builds buckets, opens connections
    pace(rate)
    found = {}
    for tokens in rows:
        x = torch.randn(tokens, width)
        samples: dict[str, list[float]] = {"alone": [], "over the link": []}
        for turn in range(rounds + 1):
            for name in samples:
                with model.no_sync() if name == "alone" else contextlib.nullcontext():
                    loss = model(x).sum()
                    seconds = _timed(loss.backward)
                if turn:
                    samples[name].append(seconds)
        found[tokens] = samples
    pace(1e12)
    return found


def sums_on_rank(count: int, width: int, rate: float) -> float:
    """On a rank: seconds in which the link carries one sum of all gradients, with nothing to compute meanwhile."""
    flat = torch.zeros(sum(p.numel() for p in layers(count, width).parameters()))
    dist.all_reduce(flat)
    pace(rate)
    return min(_timed(lambda: dist.all_reduce(flat)) for _ in range(2))


def _timed(function) -> float:
    dist.barrier()
    begin = time.perf_counter()
    function()
    dist.barrier()
    return time.perf_counter() - begin
