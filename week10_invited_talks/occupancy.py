"""How many warps fit on a multiprocessor, how many bytes they have in flight, and what bandwidth that gives."""

import heapq
import random
from dataclasses import dataclass

WARP = 32


@dataclass(frozen=True)
class Chip:
    """Published limits of a multiprocessor, and of the chip around it."""

    processors: int
    warps: int  # on a multiprocessor, at most
    blocks: int
    registers: int
    shared: int  # bytes
    bandwidth: float  # of the chip's memory, bytes a second


H100 = Chip(132, 64, 32, 65_536, 228 * 1024, 3.35e12)
"""SXM5: NVIDIA, Hopper Tuning Guide and H100 data sheet."""


def resident_warps(chip: Chip, threads: int, registers: int, shared: int = 0) -> int:
    """Warps of such blocks that fit on a multiprocessor at once: threads of a block, registers of a thread.

    Registers are handed out to a warp in units of 256, shared memory in units of 128 bytes with 1 KiB for the system.
    """
    warps = -(-threads // WARP)
    of_a_warp = -(-registers * WARP // 256) * 256
    fit = [chip.blocks, chip.warps // warps, chip.registers // of_a_warp // warps]
    fit.append(chip.shared // (-(-shared // 128) * 128 + 1024))
    return min(fit) * warps


def bytes_needed(bandwidth: float, latency: float) -> float:
    """Bytes that must be under way at any moment to keep the memory busy (Little 1961)."""
    return bandwidth * latency


def reached(
    warps: int, loads: int, *, latency: float, per_load: float, seed: int = 0, rounds: int = 200
) -> float:
    """Share of the bandwidth that one multiprocessor reaches, by a simulation of its loads, in cycles.

    Each warp sends `loads` loads that do not depend on each other, waits for all of them, and begins again. The
    memory takes a load every `per_load` cycles, and answers it after `latency` cycles, 10 % more or less by chance.
    """
    chance = random.Random(seed)
    ready = [(chance.uniform(0, latency), warp) for warp in range(warps)]
    heapq.heapify(ready)
    free, served, start = 0.0, 0, 0.0
    for turn in range(warps * rounds):
        now, warp = heapq.heappop(ready)
        back = now
        for place in range(loads):
            free = max(free, now + place) + per_load
            back = max(back, free + latency * chance.uniform(0.9, 1.1))
        heapq.heappush(ready, (back, warp))
        if turn == warps * rounds // 4:
            start = free  # the first quarter is the start, when all is empty
        elif turn > warps * rounds // 4:
            served += loads
    return served * per_load / (free - start)
