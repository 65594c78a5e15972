# replaces: tensor_parallel.py
# caught by: mlp_equals_the_whole
# mistake: adds the second bias before the sum, so that it comes as often as there are ranks
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function


class CopyToRanks(Function):
    @staticmethod
    def forward(ctx, value):
        return value.view_as(value)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SumOverRanks(Function):
    @staticmethod
    def forward(ctx, value):
        total = value.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def _own(whole, rank, size, dim):
    return whole.detach().chunk(size, dim)[rank].clone(memory_format=torch.contiguous_format)


class ParallelMLP(nn.Module):
    def __init__(self, w1, b1, w2, b2, rank, size):
        super().__init__()
        self.w1, self.b1 = (nn.Parameter(_own(w1, rank, size, 0)), nn.Parameter(_own(b1, rank, size, 0)))
        self.w2, self.b2 = (nn.Parameter(_own(w2, rank, size, 1)), nn.Parameter(b2.detach().clone()))

    def forward(self, value):
        hidden = F.gelu(F.linear(CopyToRanks.apply(value), self.w1, self.b1))
        return SumOverRanks.apply(F.linear(hidden, self.w2, self.b2))


class ParallelAttention(nn.Module):
    def __init__(self, w_qkv, b_qkv, w_out, b_out, heads, rank, size):
        super().__init__()
        self.heads = heads // size
        w_parts = [_own(part, rank, size, 0) for part in w_qkv.chunk(3)]
        b_parts = [_own(part, rank, size, 0) for part in b_qkv.chunk(3)]
        self.w_qkv, self.b_qkv = (nn.Parameter(torch.cat(w_parts)), nn.Parameter(torch.cat(b_parts)))
        self.w_out, self.b_out = (
            nn.Parameter(_own(w_out, rank, size, 1)),
            nn.Parameter(b_out.detach().clone()),
        )

    def forward(self, value):
        qkv = F.linear(CopyToRanks.apply(value), self.w_qkv, self.b_qkv)
        query, key, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(query, key, values, is_causal=True)
        return SumOverRanks.apply(F.linear(mixed.transpose(1, 2).flatten(2), self.w_out)) + self.b_out
