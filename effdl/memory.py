"""How many bytes a computation needs and keeps, on a CPU and on a GPU by the same call.

Two questions have different answers. :func:`measure` asks the allocator: what was alive at the worst moment, and
what stays alive. :func:`saved_tensors` asks autograd: which tensors wait for the backward pass. Checkpointing
moves bytes out of the second into recomputation; only the first tells what it saved in the end.

On a CPU the allocations come from PyTorch's own record of them, so the numbers repeat exactly. NumPy arrays and
Python objects are not in it.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from effdl.device import device, synchronize

# The profiler's C++ library otherwise prints its own start and stop to standard error. Read once, at first use.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


@dataclass(frozen=True)
class Memory:
    """What one call allocated, in bytes, above what was alive before it."""

    result: Any  # what the function returned; it keeps its share of `kept` alive
    peak: int
    kept: int


def measure(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Memory:
    """Call `function` and return its result with the bytes that it needed at most and that are alive after it.

    A forward pass keeps its result and all that its graph holds for the backward pass. The first call of an
    operation may allocate for good what later calls find: call the function once before, where that matters.
    Let it free nothing that is older than the call (set gradients to None before a training step): PyTorch's
    record on a CPU does not know the size of what it did not see being allocated.
    """
    if device().type == "cuda":
        return _measure_cuda(function, *args, **kwargs)
    # torch.profiler records the same, and imports PyTorch's compiler first: a second and a half in a fresh rank.
    profiler = torch.autograd.profiler.profile(profile_memory=True)
    with profiler:
        result = function(*args, **kwargs)
    recorded: Any = profiler.kineto_results  # PyTorch's annotations lack the bytes of an event
    events = [event for event in recorded.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return Memory(result, peak, alive)


def _measure_cuda(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Memory:
    synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = function(*args, **kwargs)
    synchronize()
    return Memory(result, torch.cuda.max_memory_allocated() - before, torch.cuda.memory_allocated() - before)


class saved_tensors:
    """Count what autograd keeps for the backward pass while the block runs.

    ```python
    with saved_tensors(besides=model.parameters()) as saved:
        loss = model(x).sum()
    saved.bytes
    ```

    Every storage counts once, however many views of it are saved. Tensors in `besides` (usually the parameters,
    which are there anyway) do not count. Keep the loss alive until you have read `bytes`. What a non-reentrant
    checkpoint holds is out of autograd's sight: see :func:`measure` for that.
    """

    def __init__(self, besides: Iterable[torch.Tensor] = ()) -> None:
        self._known = {_address(tensor) for tensor in besides}
        self._storages: dict[tuple[str, int], int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """Bytes of the distinct storages that were saved."""
        return sum(self._storages.values())

    def __enter__(self) -> "saved_tensors":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        address = _address(tensor)
        if address not in self._known:
            self._storages[address] = tensor.untyped_storage().nbytes()
        # Detached: a node that held its own output with its history would keep itself alive for ever.
        return tensor.detach()


def _address(tensor: torch.Tensor) -> tuple[str, int]:
    return str(tensor.device), tensor.untyped_storage().data_ptr()
