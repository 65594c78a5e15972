"""Which collectives a piece of code calls, and how many bytes they move, seen from outside the code."""

from collections import Counter

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

SHARE_SENT = {"allreduce": 2, "allgather": 1, "reduce_scatter": 1, "alltoall": 1}
"""What each of n ranks sends, in units of (n - 1) / n of the whole tensor, by the best algorithms (week 3)."""


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
    def sent(self) -> float:
        """Bytes that this rank sends for all of them, by the formulas of week 3."""
        world = dist.get_world_size()
        return sum(SHARE_SENT[name] * nbytes for name, nbytes in self.calls) * (world - 1) / world


def _nbytes(tensors) -> int:
    """Bytes of a tensor, or of tensors in lists of lists; other arguments count nothing."""
    if isinstance(tensors, torch.Tensor):
        return tensors.nbytes
    return sum(map(_nbytes, tensors)) if isinstance(tensors, list | tuple) else 0
