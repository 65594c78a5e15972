# replaces: recompute.py
# method: forward keeps a closure that runs the function again; the generator's state set by hand; recursive segments
import torch
from torch.autograd import Function


def _detached(value):
    return value.detach().requires_grad_(value.requires_grad) if isinstance(value, torch.Tensor) else value


class Recompute(Function):
    @staticmethod
    def forward(ctx, function, anchor, *args):
        state = torch.random.get_rng_state()
        result = function(*args)

        def again():
            inputs = [_detached(value) for value in args]
            present = torch.random.get_rng_state()
            torch.random.set_rng_state(state)
            try:
                with torch.enable_grad():
                    return inputs, function(*inputs)
            finally:
                torch.random.set_rng_state(present)

        ctx.again = again
        return result

    @staticmethod
    def backward(ctx, *gradients):
        inputs, outputs = ctx.again()
        if isinstance(outputs, torch.Tensor):
            outputs = [outputs]
        tensors, arrived = [], []
        for output, gradient in zip(outputs, gradients, strict=True):
            if gradient is not None and output.requires_grad:
                tensors.append(output)
                arrived.append(gradient)
        torch.autograd.backward(tensors, arrived)
        return None, None, *(getattr(value, "grad", None) for value in inputs)


def checkpoint(function, *args):
    anchor = torch.empty(0, requires_grad=True)
    return Recompute.apply(function, anchor, *args)


def chain(blocks):
    def run(value):
        for block in blocks:
            value = block(value)
        return value

    return run


def run_in_segments(blocks, value, segments):
    if segments == 0:
        return value
    length = len(blocks) // segments
    value = checkpoint(chain(blocks[:length]), value)
    return run_in_segments(blocks[length:], value, segments - 1)
