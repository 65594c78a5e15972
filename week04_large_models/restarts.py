"""Checkpoints of sharded state: who reads what when the number of ranks has changed, and how often to save."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Read:
    """Elements `start` to `stop` (exclusive) of the file that rank `saved_by` wrote, which go to place `to`."""

    saved_by: int
    start: int
    stop: int
    to: int


def shard(numel: int, ranks: int, rank: int) -> tuple[int, int]:
    """The elements [start, stop) of a flat state that `rank` owns: equal shards, the last ones shorter or empty."""
    size = -(-numel // ranks)
    return min(rank * size, numel), min((rank + 1) * size, numel)


def reads(numel: int, saved: int, loaded: int, rank: int) -> list[Read]:
    """What `rank` of `loaded` ranks reads of a state of `numel` elements that `saved` ranks wrote.

    Together the pieces are its shard, and no element is read twice. No rank ever holds the whole.
    """
    begin, end = shard(numel, loaded, rank)
    pieces = []
    for writer in range(saved):
        first, last = shard(numel, saved, writer)
        start, stop = max(begin, first), min(end, last)
        if start < stop:
            pieces.append(Read(writer, start - first, stop - first, start - begin))
    return pieces


def best_interval(save: float, between_failures: float) -> float:
    """Seconds of work between two checkpoints that lose the least time, sqrt(2 save M).

    `save` is the time that one takes, M the mean time between failures. Young, A first order approximation to the
    optimum checkpoint interval, CACM 1974. Good where `save` is much less than M.
    """
    return math.sqrt(2 * save * between_failures)


def overhead(interval: float, save: float, restart: float, between_failures: float) -> float:
    """Expected run time over the time of the work alone, less 1, for failures at random times (Poisson).

    A segment of work and save takes (M + restart) (exp((interval + save) / M) - 1) seconds on average: Daly, FGCS
    2006, for restarts that do not fail.
    """
    mean = between_failures
    return (mean + restart) * math.expm1((interval + save) / mean) / interval - 1


def simulate(
    work: float, interval: float, save: float, restart: float, between_failures: float, seed: int = 0
) -> list[tuple[float, float]]:
    """One run, failure by failure: (seconds since the start, seconds of work that a restart would find saved).

    There is a point for each checkpoint, and one after each restart. The last has all `work` saved.
    """
    rng = np.random.default_rng(seed)
    now, done, points = 0.0, 0.0, [(0.0, 0.0)]
    failure = rng.exponential(between_failures)
    while done < work:
        step = min(interval, work - done)
        if now + step + save <= failure:
            now, done = now + step + save, done + step
        else:
            now = failure + restart
            failure = now + rng.exponential(between_failures)
        points.append((now, done))
    return points
