# replaces: recompute.py
# method: backward of one number, the sum of outputs times gradients; segments of nn.Sequential and divmod
import torch
from torch import nn
from torch.autograd import Function


class Recompute(Function):
    @staticmethod
    def forward(ctx, function, anchor, *args):
        ctx.function, ctx.rng_state = function, torch.get_rng_state()
        ctx.others = {i: a for i, a in enumerate(args) if not isinstance(a, torch.Tensor)}
        ctx.save_for_backward(*[a for a in args if isinstance(a, torch.Tensor)])
        return function(*args)

    @staticmethod
    def backward(ctx, *gradients):
        tensors = [t.detach() for t in ctx.saved_tensors]
        for new, old in zip(tensors, ctx.saved_tensors, strict=True):
            new.requires_grad = old.requires_grad
        args = list(tensors)
        for i, value in ctx.others.items():  # ascending, so that each goes to its place
            args.insert(i, value)

        rng_state = torch.get_rng_state()
        torch.set_rng_state(ctx.rng_state)
        with torch.enable_grad():
            outputs = ctx.function(*args)
            if not isinstance(outputs, tuple):
                outputs = (outputs,)
            number = sum((o * g).sum() for o, g in zip(outputs, gradients, strict=True) if o.requires_grad)
        torch.set_rng_state(rng_state)
        torch.autograd.backward(number)
        return (None, None, *[a.grad if isinstance(a, torch.Tensor) else None for a in args])


def checkpoint(function, *args):
    return Recompute.apply(function, torch.empty(0, requires_grad=True), *args)


def run_in_segments(blocks, value, segments):
    short, longer = divmod(len(blocks), segments)
    blocks = list(blocks)
    for segment in range(segments):
        length = short + 1 if segment < longer else short
        group, blocks = blocks[:length], blocks[length:]
        if all(isinstance(block, nn.Module) for block in group):
            value = checkpoint(nn.Sequential(*group), value)
        else:
            value = checkpoint(lambda x, group=group: _through(group, x), value)
    return value


def _through(group, x):
    for block in group:
        x = block(x)
    return x
