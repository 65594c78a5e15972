# replaces: recompute.py
# method: fork_rng puts the generator back; a template of the arguments; segments by tensor_split
import torch
from torch.autograd import Function


class Recompute(Function):
    @staticmethod
    def forward(ctx, function, anchor, *args):
        ctx.function = function
        ctx.rng = torch.get_rng_state()
        ctx.template = [None if torch.is_tensor(a) else a for a in args]
        ctx.where = [i for i, a in enumerate(args) if torch.is_tensor(a)]
        ctx.save_for_backward(*(args[i] for i in ctx.where))
        with torch.no_grad():
            return function(*args)

    @staticmethod
    def backward(ctx, *gradients):
        args = list(ctx.template)
        for i, tensor in zip(ctx.where, ctx.saved_tensors, strict=True):
            args[i] = tensor.detach().requires_grad_(tensor.requires_grad)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_rng_state(ctx.rng)
            outputs = ctx.function(*args)
        if torch.is_tensor(outputs):
            outputs = (outputs,)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad]
        if pairs:
            torch.autograd.backward(*zip(*pairs, strict=True))
        return None, None, *(a.grad if torch.is_tensor(a) else None for a in args)


def checkpoint(function, *args):
    return Recompute.apply(function, torch.empty(0, requires_grad=True), *args)


def run_in_segments(blocks, value, segments):
    for places in torch.arange(len(blocks)).tensor_split(segments):
        group = [blocks[i] for i in places.tolist()]

        def run(x, group=group):
            for block in group:
                x = block(x)
            return x

        value = checkpoint(run, value)
    return value
