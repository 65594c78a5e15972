# replaces: recompute.py
# caught by: segments_take_the_square_root
# mistake: checkpoints every block by itself, whatever number of segments is asked for
# needs: control groups, without which nobody measures memory
import torch
from torch.autograd import Function


class Recompute(Function):
    @staticmethod
    def forward(ctx, function, anchor, *args):
        ctx.function = function
        ctx.random = _random_state(args)
        ctx.args = [None if isinstance(value, torch.Tensor) else value for value in args]
        ctx.where = [index for index, value in enumerate(args) if isinstance(value, torch.Tensor)]
        ctx.save_for_backward(*(args[index] for index in ctx.where))
        return function(*args)

    @staticmethod
    def backward(ctx, *gradients):
        args = list(ctx.args)
        for index, saved in zip(ctx.where, ctx.saved_tensors, strict=True):
            args[index] = saved.detach().requires_grad_(saved.requires_grad)
        state, devices = ctx.random
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
        return (None, None, *(value.grad if isinstance(value, torch.Tensor) else None for value in args))


def _random_state(args):
    devices = {value.device for value in args if isinstance(value, torch.Tensor) and value.is_cuda}
    return (torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices})


def checkpoint(function, *args):
    anchor = torch.empty(0, requires_grad=True)
    return Recompute.apply(function, anchor, *args)


def run_in_segments(blocks, value, segments):
    for number in range(segments):
        first, last = (len(blocks) * bound // segments for bound in (number, number + 1))
        for block in blocks[first:last]:
            value = checkpoint(block, value)
    return value
