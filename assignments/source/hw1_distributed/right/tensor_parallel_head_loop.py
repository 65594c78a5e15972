# replaces: tensor_parallel.py
# method: a loop over heads, each with parameters of its own and its own part of the output
import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Function


def sum_everywhere(tensor):
    tensor = tensor.detach().clone().contiguous()
    dist.all_reduce(tensor)  # not reduce and broadcast: gloo's reduce sends more than half an all-reduce
    return tensor


class CopyToRanks(Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return sum_everywhere(gradient)


class SumOverRanks(Function):
    @staticmethod
    def forward(ctx, value):
        return sum_everywhere(value)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class ParallelMLP(nn.Module):
    def __init__(self, w1, b1, w2, b2, rank, size):
        super().__init__()
        H = w1.size(0)
        units = range(rank * H // size, (rank + 1) * H // size)
        self.w1 = nn.Parameter(w1.detach()[list(units)])
        self.b1 = nn.Parameter(b1.detach()[list(units)])
        self.w2 = nn.Parameter(w2.detach()[:, list(units)])
        self.b2 = nn.Parameter(torch.tensor(b2.tolist(), dtype=b2.dtype))

    def forward(self, value):
        value = CopyToRanks.apply(value)
        hidden = nn.functional.gelu(torch.matmul(value, self.w1.t()) + self.b1)
        return SumOverRanks.apply(torch.matmul(hidden, self.w2.t())) + self.b2


class Head(nn.Module):
    def __init__(self, w_qkv, b_qkv, w_out, number, width):
        super().__init__()
        D = w_out.size(0)
        for i, name in enumerate("qkv"):
            rows = slice(i * D + number * width, i * D + (number + 1) * width)
            setattr(self, "w" + name, nn.Parameter(w_qkv.detach()[rows].clone()))
            setattr(self, "b" + name, nn.Parameter(b_qkv.detach()[rows].clone()))
        self.out = nn.Parameter(w_out.detach()[:, number * width : (number + 1) * width].clone())

    def forward(self, x):
        q, k, v = x @ self.wq.t() + self.bq, x @ self.wk.t() + self.bk, x @ self.wv.t() + self.bv
        T = x.size(1)
        mask = torch.full((T, T), float("-inf"), dtype=x.dtype).triu(diagonal=1)
        scores = q @ k.transpose(1, 2) * k.size(-1) ** -0.5 + mask
        return torch.softmax(scores, dim=-1) @ v @ self.out.t()


class ParallelAttention(nn.Module):
    def __init__(self, w_qkv, b_qkv, w_out, b_out, heads, rank, size):
        super().__init__()
        each, width = heads // size, w_out.size(0) // heads
        mine = range(rank * each, (rank + 1) * each)
        self.heads = nn.ModuleList(Head(w_qkv, b_qkv, w_out, number, width) for number in mine)
        self.b_out = nn.Parameter(b_out.detach().clone())

    def forward(self, value):
        value = CopyToRanks.apply(value)
        total = 0
        for head in self.heads:
            total = total + head(value)
        return SumOverRanks.apply(total) + self.b_out
