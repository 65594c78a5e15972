"""All-reduces timed side by side: persistent ranks, interleaved rounds, one ratio per pair."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist

from effdl import launch
from effdl.bench import Comparison
from week03_data_parallel import point_to_point, schedules
from week03_data_parallel.ring import RingSum
from week03_data_parallel.shared_memory import HierarchicalSum, SharedBucket, SharedSum


def all_reduces(
    names: list[str], tensor: torch.Tensor, link: tuple[float, float] | None = None
) -> dict[str, Callable[[], None]]:
    """The all-reduces of `tensor` by name, ready to be called on every rank of the default group.

    Names: those of `schedules.FLAT`, "gloo" (or whatever the group's backend is), "ring in segments",
    "shared memory", "shared bucket" (its own tensor), "2 hosts" (shared memory inside, ring between). `link` is
    (alpha, beta) of a `SlowLink` for the schedules.
    """
    slow = point_to_point.SlowLink(*link) if link else None
    world = dist.get_world_size()
    chosen: dict[str, Callable[[], None]] = {}
    for name in names:
        if name == "gloo":
            chosen[name] = lambda: dist.all_reduce(tensor)
        elif name in schedules.FLAT:
            schedule = schedules.FLAT[name](world)
            chosen[name] = lambda schedule=schedule: point_to_point.execute(schedule, tensor, slow)
        elif name == "shared bucket":
            chosen[name] = SharedBucket(tensor.numel(), tensor.dtype).all_reduce
        else:
            make = {
                "ring in segments": lambda: RingSum(tensor),
                "shared memory": SharedSum,
                "2 hosts": lambda: HierarchicalSum(tensor, world // 2),
            }[name]
            reduce = make()
            chosen[name] = lambda reduce=reduce: reduce(tensor)
    return chosen


def race_on_rank(
    names: list[str], sizes: list[int], budget: float, most: int, link: tuple[float, float] | None
) -> dict[int, dict[str, list]]:
    """Seconds of one call, as {bytes: {name: samples}}; a sample is the time until the last rank has finished.

    Each size gets `budget` seconds, two rounds at least and `most` at most. All zero, so that sums stay finite.
    """
    result = {}
    for nbytes in sizes:
        functions = all_reduces(names, torch.zeros(nbytes // 4), link)
        result[nbytes] = interleaved(functions, most, warmup=1, budget=budget)
    return result


def interleaved(
    functions: dict[str, Callable[[], None]], rounds: int, warmup: int, budget: float = math.inf
) -> dict[str, list[float]]:
    """Seconds of each function until the last rank has finished it: A B, B A, and so on. Called on every rank.

    The first `warmup` rounds are not counted. No new round begins after `budget` seconds, but there are two at least.
    """
    samples: dict[str, list[float]] = {name: [] for name in functions}
    order, end = list(functions), time.perf_counter() + budget
    for turn in range(-warmup, rounds):
        for name in order:
            dist.barrier()
            begin = time.perf_counter()
            functions[name]()
            dist.barrier()
            if turn >= 0:
                samples[name].append(time.perf_counter() - begin)
        order.reverse()
        # Rank 0's clock decides for all.
        stop = torch.tensor([time.perf_counter() > end and turn > 0])
        dist.broadcast(stop, src=0)
        if stop:
            break
    return samples


def race(
    names: list[str],
    worlds: list[int],
    sizes: list[int],
    budget: float = 0.5,
    most: int = 40,
    link: tuple[float, float] | None = None,
) -> dict[tuple[int, int], Comparison]:
    """Time all-reduces on this machine: {(world size, bytes): Comparison}. Times are those of rank 0."""
    found = {}
    for world in worlds:
        seen = launch.run(race_on_rank, ranks=world, args=(names, sizes, budget, most, link), deadline=300)[0]
        found |= {(world, nbytes): Comparison(samples) for nbytes, samples in seen.items()}
    return found


def typical_ratio(races: dict[tuple[int, int], Comparison], slow: str, fast: str) -> float:
    """Geometric mean, over all races, of how many times longer `slow` takes than `fast`."""
    return float(np.exp(np.mean([np.log(float(r.ratio(slow, fast))) for r in races.values()])))
