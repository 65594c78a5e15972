"""What a piece of code sends: collectives seen from outside the code, bytes counted at the sockets, slower links.

Two counts of the same messages. `Collectives` sees each call, and says what the best algorithm would send for it: the
formulas of week 3, which NCCL keeps. `Sockets` asks the kernel what this rank's TCP sockets really sent, whatever the
library made of the calls. They differ: gloo's reduce-scatter sends as much as an all-reduce.
"""

import math
import socket
import sys
from collections import Counter

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from effdl.sockets import connections, socket_bytes

SHARE_SENT = {"allreduce": 2, "allgather": 1, "reduce_scatter": 1, "alltoall": 1}
"""What each of n ranks sends, in units of (n - 1) / n of the whole tensor, by the best algorithms (week 3)."""

SO_MAX_PACING_RATE = 47  # <asm-generic/socket.h>, since Linux 3.13


class Collectives(TorchDispatchMode):
    """Records (name, bytes of the whole tensor) of every collective that runs in the block, backward passes too.

    The whole tensor is what the ranks add up, what they have after a gather or before a scatter, or what one rank
    hands out in an all-to-all. Nothing else than sums, gathers, scatters and exchanges may run in the block.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        space, _, name = function._schema.name.partition("::")
        if space == "c10d":
            whole = max(_nbytes(args[0]), _nbytes(args[1]))
            self.calls.append((name.replace("_base", "").strip("_"), whole))
        return function(*args, **(kwargs or {}))

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # otherwise the first operation imports PyTorch's compiler: seconds on every rank

    @property
    def names(self) -> dict[str, int]:
        """How many collectives of each name ran."""
        return dict(Counter(name for name, _ in self.calls))

    @property
    def by_formula(self) -> float:
        """Bytes that this rank would send for all of them by the formulas of week 3, as with NCCL."""
        world = dist.get_world_size()
        return sum(SHARE_SENT[name] * nbytes for name, nbytes in self.calls) * (world - 1) / world


class Sockets:
    """Counts the bytes that this rank's TCP sockets send in the block. All ranks must enter and leave it together.

    A barrier stands at both ends; it sends some hundred bytes, which are counted. Only Linux counts: elsewhere `sent`
    is not a number, and a page goes on without it.
    """

    def __enter__(self) -> "Sockets":
        dist.barrier()
        self._before, self.sent = _counted(), 0.0
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            dist.barrier()
            self.sent = _counted() - self._before


def _counted() -> float:
    return socket_bytes() if sys.platform == "linux" else math.nan


def pace(rate: float) -> int:
    """From now on let each TCP connection of this rank send at most `rate` bytes per second; return how many.

    The kernel holds packets back, so that a slow link costs no processor time: a network that works by itself, as a
    real one does. Call it when the connections are open, that is after the first collective. Elsewhere than on Linux
    links stay as fast as they are, and 0 is returned.
    """
    if sys.platform != "linux":
        return 0
    count = 0
    for connection in connections():
        connection.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(rate).to_bytes(8, "little"))
        count += 1
    return count


def _nbytes(tensors) -> int:
    """Bytes of a tensor, or of tensors in lists of lists; other arguments count nothing."""
    if isinstance(tensors, torch.Tensor):
        return tensors.nbytes
    return sum(map(_nbytes, tensors)) if isinstance(tensors, list | tuple) else 0
