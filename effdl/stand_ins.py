"""Stand-ins for hardware that works by itself: a device that computes, and a network that carries.

On a CPU the ranks' messages and their computing share the cores, so that neither can hide behind the other. Here
both only take time. Modules, hooks and messages stay real.
"""

import time

import torch
import torch.distributed as dist
from torch import nn


class OnADevice(nn.Module):
    """A module on a device of its own: `seconds` longer forward, twice as long backward, without using the CPU."""

    def __init__(self, part: nn.Module, seconds: float):
        super().__init__()
        self.part, self.seconds = part, seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the part returns."""
        y = self.part(x)
        time.sleep(self.seconds)
        y.register_hook(lambda _: time.sleep(2 * self.seconds))
        return y


class Late:
    """A collective on its way, that arrives at the time `due` of `time.perf_counter` or later."""

    def __init__(self, work: dist.Work, due: float):
        self.work, self.due = work, due

    def wait(self) -> None:
        """Return when it has arrived."""
        self.work.wait()
        time.sleep(max(0.0, self.due - time.perf_counter()))
