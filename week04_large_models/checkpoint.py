"""`checkpoint(function, *inputs)`: keep the inputs of a function, throw away what it computed, compute it again.

It is made of one PyTorch mechanism, the saved-tensor hooks: autograd hands every tensor that it wants to keep for the
backward pass to `pack`, keeps whatever `pack` returns, and gives that to `unpack` when it needs the tensor.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks


class _Enough(Exception):
    """The recomputation has produced everything that backward will ask for."""


class _Frame:
    """One checkpointed call: its function, its inputs, and how many tensors autograd wanted to save in it."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[Any, ...], random_state: bool):
        self.function, self.inputs = function, inputs
        self.random = _random_states(inputs) if random_state else None
        self.count = 0
        self.recomputed: dict[int, torch.Tensor] = {}

    def pack(self, tensor: torch.Tensor) -> int:
        """Keep a number in place of the tensor."""
        self.count += 1
        return self.count - 1

    def unpack(self, number: int) -> torch.Tensor:
        """Give back the tensor that was packed as `number`; the first call of a backward pass recomputes all."""
        if number not in self.recomputed:
            self.recompute()
        if number not in self.recomputed:
            raise RuntimeError(
                f"the recomputation saved {len(self.recomputed)} tensors, the forward pass {self.count}; "
                "a checkpointed function must do the same in both"
            )
        # Autograd asks once for each saved tensor, so what it has got need not be kept here any longer.
        return self.recomputed.pop(number)

    def recompute(self) -> None:
        """Run the function again, on copies of the inputs that are cut off from the graph, and keep what it saves."""
        self.recomputed = {}

        def keep(tensor: torch.Tensor) -> int:
            self.recomputed[len(self.recomputed)] = tensor.detach()
            if len(self.recomputed) == self.count:
                raise _Enough
            return len(self.recomputed) - 1

        inputs = [_detached(value) for value in self.inputs]
        with (
            contextlib.suppress(_Enough),
            torch.enable_grad(),
            _restored(self.random),
            saved_tensors_hooks(keep, self.recomputed.__getitem__),
        ):
            self.function(*inputs)


def checkpoint(function: Callable[..., Any], *inputs: Any, random_state: bool = True) -> Any:
    """Return `function(*inputs)`, and keep nothing of its inside for the backward pass but the inputs.

    When backward needs the first tensor from inside, the function runs again, up to the last tensor that is needed.
    It must compute the same again: `random_state` lets it draw the same random numbers (dropout masks), and the
    generators are afterwards where they were. Weights and inputs must not change in place before backward.

    Chen, Xu, Zhang & Guestrin, Training deep nets with sublinear memory cost, 2016. PyTorch's own is
    `torch.utils.checkpoint.checkpoint(..., use_reentrant=False)`; it restores autocast as well, and nests without
    keeping the inner inputs. Raises RuntimeError if the function saves fewer tensors when it runs again.
    """
    frame = _Frame(function, inputs, random_state)
    with saved_tensors_hooks(frame.pack, frame.unpack):
        return function(*inputs)


def _random_states(inputs: tuple[Any, ...]) -> dict[str, torch.Tensor]:
    """The states of the generators that a function with these inputs may use: the CPU's, and those of its GPUs."""
    gpus = {str(value.device) for value in inputs if isinstance(value, torch.Tensor) and value.is_cuda}
    return {"cpu": torch.get_rng_state(), **{gpu: torch.cuda.get_rng_state(gpu) for gpu in gpus}}


@contextlib.contextmanager
def _restored(states: dict[str, torch.Tensor] | None) -> Iterator[None]:
    """Inside, generators are in the given states; afterwards each goes on from where it was."""
    if states is None:
        yield
        return
    with torch.random.fork_rng(devices=[device for device in states if device != "cpu"]):
        for device, state in states.items():
            if device == "cpu":
                torch.set_rng_state(state)
            else:
                torch.cuda.set_rng_state(state, device)
        yield


def _detached(value: Any) -> Any:
    """A tensor with the same memory and no history, that wants gradients if the original did."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().requires_grad_(value.requires_grad)
