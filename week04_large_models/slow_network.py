"""What prefetching hides: our sharded wrapper on a stand-in for devices and a network, which do not share a CPU.

A layer waits as a device would compute, and a gather arrives no earlier than a network would have brought it.
Wrapper, hooks and messages are real.
"""

import time

import torch
import torch.distributed as dist
from torch import nn

from effdl.stand_ins import Late, OnADevice
from week04_large_models.sharding import FullySharded, Unit

FORWARD = 0.02  # seconds of a layer forward; backward takes twice as long


class SlowUnit(Unit):
    """A unit whose gathers take `seconds`, one after another over one link."""

    seconds, free = 0.0, 0.0

    def start_gather(self) -> None:
        """See `Unit`."""
        pending = self.gathering
        super().start_gather()
        if pending is None and self.gathering is not None:
            SlowUnit.free = max(SlowUnit.free, time.perf_counter()) + self.seconds
            self.gathering = Late(self.gathering, SlowUnit.free)


class OnSlowNetwork(FullySharded):
    """Our wrapper with slow units."""

    unit = SlowUnit


def prefetch_on_rank(layers: int, gather: float, rounds: int) -> dict[str, list[float]]:
    """On a rank: seconds of forward and backward through `layers` layers, with prefetching and without, in turns."""
    SlowUnit.seconds = gather
    ways = {}
    for name, prefetch in (("when needed", False), ("one unit ahead", True)):
        model = nn.Sequential(*(OnADevice(nn.Linear(8, 8), FORWARD) for _ in range(layers)))
        ways[name] = OnSlowNetwork(model, list(model), prefetch)
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, rounds):
        for name, model in ways.items():
            dist.barrier()
            begin = time.perf_counter()
            model(torch.ones(1, 8)).sum().backward()
            model.finish()
            if turn >= 0:
                samples[name].append(time.perf_counter() - begin)
    return samples


def predicted(layers: int, gather: float, prefetch: bool) -> float:
    """Seconds of a step: compute, and the gathers that nothing hides. The last layer stays whole for its backward."""
    compute = 3 * FORWARD * layers
    hidden_forward, hidden_backward = (min(gather, t) if prefetch else 0.0 for t in (FORWARD, 2 * FORWARD))
    forward = gather + (layers - 1) * (gather - hidden_forward)
    return compute + forward + (layers - 1) * (gather - hidden_backward)
