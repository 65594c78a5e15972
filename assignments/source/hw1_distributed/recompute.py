"""Activation checkpointing: keep the input of a function, not what is computed within, and compute it again."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import Function


class Recompute(Function):
    """Runs a function without a graph; the backward pass runs it again with one (Chen et al. 2016)."""

    @staticmethod
    def forward(ctx, function: Callable[..., Any], anchor: torch.Tensor, *args: Any):
        """Return `function(*args)` and keep in `ctx` what it takes to run it again, random numbers included.

        Autograd records nothing while this runs. `anchor` is an empty tensor that requires a gradient: with it
        the result requires one too, even where no tensor among `args` does.
        """
        ### BEGIN SOLUTION
        ctx.function = function
        ctx.random = _random_state(args)
        ctx.args = [None if isinstance(value, torch.Tensor) else value for value in args]
        ctx.where = [index for index, value in enumerate(args) if isinstance(value, torch.Tensor)]
        # Not as attributes: save_for_backward notices a later change in place, and makes no cycle of references.
        ctx.save_for_backward(*(args[index] for index in ctx.where))
        return function(*args)
        ### END SOLUTION

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        """Run the function again, then its backward pass; return None, None and the gradient of each of `args`."""
        ### BEGIN SOLUTION
        args = list(ctx.args)
        for index, saved in zip(ctx.where, ctx.saved_tensors, strict=True):
            args[index] = saved.detach().requires_grad_(saved.requires_grad)
        state, devices = ctx.random
        # What is drawn again must not be missing from, or come twice in, the numbers that others draw later.
        with torch.random.fork_rng(devices=list(devices)), torch.enable_grad():
            torch.set_rng_state(state)
            for device, device_state in devices.items():
                torch.cuda.set_rng_state(device_state, device)
            outputs = ctx.function(*args)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (output, gradient)
            for output, gradient in zip(outputs, gradients, strict=True)
            if output.requires_grad and gradient is not None
        ]
        torch.autograd.backward(*zip(*pairs, strict=True))
        return None, None, *(value.grad if isinstance(value, torch.Tensor) else None for value in args)
        ### END SOLUTION


### BEGIN SOLUTION
def _random_state(args):
    """Return the state of the CPU's random numbers, and of each GPU that holds one of `args`."""
    devices = {value.device for value in args if isinstance(value, torch.Tensor) and value.is_cuda}
    return torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices}


### END SOLUTION


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(*args)`; of all that backward needs, only the tensors among `args` are kept until then.

    `function` returns a tensor or a tuple of tensors. It may use parameters of its own and draw random numbers
    from PyTorch's default generator. It runs once now, and once more in every backward pass.
    """
    anchor = torch.empty(0, requires_grad=True)
    return Recompute.apply(function, anchor, *args)


def run_in_segments(
    blocks: Sequence[Callable[[torch.Tensor], torch.Tensor]], value: torch.Tensor, segments: int
) -> torch.Tensor:
    """Return `value` sent through all `blocks`, which are checkpointed in `segments` groups, not one by one.

    Groups are consecutive and their lengths differ by one at most; 1 <= segments <= len(blocks). Between forward
    and backward only the inputs of the groups are kept. Every block runs twice in all.
    """
    ### BEGIN SOLUTION
    for number in range(segments):
        first, last = (len(blocks) * bound // segments for bound in (number, number + 1))

        def run(value: torch.Tensor, group=blocks[first:last]) -> torch.Tensor:
            for block in group:
                value = block(value)
            return value

        value = checkpoint(run, value)
    return value
    ### END SOLUTION
