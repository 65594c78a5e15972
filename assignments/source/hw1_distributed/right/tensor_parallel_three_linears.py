# replaces: tensor_parallel.py
# method: nn.Linear layers without their bias, three for queries, keys and values, of one copy; softmax by hand
import math

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Function


class CopyToRanks(Function):
    @staticmethod
    def forward(ctx, value):
        return value.view_as(value)

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class SumOverRanks(Function):
    @staticmethod
    def forward(ctx, value):
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def linear(weight, bias=None):
    """A layer with copies of parts of the whole weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


class ParallelMLP(nn.Module):
    def __init__(self, w1, b1, w2, b2, rank, size):
        super().__init__()
        n = len(w1) // size
        part = slice(rank * n, (rank + 1) * n)
        self.up = linear(w1[part], b1[part])
        self.down = linear(w2[:, part])
        self.bias = nn.Parameter(b2.detach().clone())

    def forward(self, value):
        hidden = nn.functional.gelu(self.up(CopyToRanks.apply(value)))
        return SumOverRanks.apply(self.down(hidden)) + self.bias


class ParallelAttention(nn.Module):
    def __init__(self, w_qkv, b_qkv, w_out, b_out, heads, rank, size):
        super().__init__()
        D = w_out.shape[0]
        self.heads = heads // size
        part = slice(rank * D // size, (rank + 1) * D // size)
        self.q, self.k, self.v = (
            linear(w[part], b[part]) for w, b in zip(w_qkv.chunk(3), b_qkv.chunk(3), strict=True)
        )
        self.out = linear(w_out[:, part])
        self.bias = nn.Parameter(b_out.detach().clone())

    def forward(self, value):
        value = CopyToRanks.apply(value)
        B, T, _ = value.shape

        def by_head(x):
            return x.view(B, T, self.heads, -1).transpose(1, 2)

        q, k, v = by_head(self.q(value)), by_head(self.k(value)), by_head(self.v(value))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
        mixed = (weights @ v).transpose(1, 2).reshape(B, T, -1)
        return SumOverRanks.apply(self.out(mixed)) + self.bias
