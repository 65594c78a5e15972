# replaces: tensor_parallel.py
# method: a reduce-scatter by all_to_all_single and an all-gather in place of all_reduce; weights by head, einsum
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function


def total_of(value):
    size = dist.get_world_size()
    flat = F.pad(value.reshape(-1), (0, -value.numel() % size))
    theirs = torch.empty_like(flat)
    dist.all_to_all_single(theirs, flat.contiguous())
    part = theirs.view(size, -1).sum(0)
    whole = torch.empty_like(flat)
    dist.all_gather_into_tensor(whole, part)
    return whole[: value.numel()].view(value.shape)


class CopyToRanks(Function):
    @staticmethod
    def forward(ctx, value):
        return value

    @staticmethod
    def backward(ctx, gradient):
        return total_of(gradient)


class SumOverRanks(Function):
    @staticmethod
    def forward(ctx, value):
        return total_of(value)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clone()


def own(tensor):
    return nn.Parameter(tensor.detach().clone(memory_format=torch.contiguous_format))


class ParallelMLP(nn.Module):
    def __init__(self, w1, b1, w2, b2, rank, size):
        super().__init__()
        self.w1 = own(w1.tensor_split(size, dim=0)[rank].T)  # [D, H / size]
        self.b1 = own(b1.tensor_split(size)[rank])
        self.w2 = own(w2.tensor_split(size, dim=1)[rank].T)  # [H / size, D]
        self.b2 = own(b2)

    def forward(self, value):
        hidden = F.gelu(CopyToRanks.apply(value) @ self.w1 + self.b1)
        return SumOverRanks.apply(hidden @ self.w2) + self.b2


class ParallelAttention(nn.Module):
    def __init__(self, w_qkv, b_qkv, w_out, b_out, heads, rank, size):
        super().__init__()
        D = w_qkv.shape[1]
        mine = [h for h in range(heads) if h * size // heads == rank]
        self.w = own(w_qkv.view(3, heads, D // heads, D)[:, mine])
        self.b = own(b_qkv.view(3, heads, D // heads)[:, mine])
        self.w_out = own(w_out.view(D, heads, D // heads)[:, mine])
        self.b_out = own(b_out)

    def forward(self, value):
        qkv = torch.einsum("btd,shed->sbhte", CopyToRanks.apply(value), self.w) + self.b[:, None, :, None]
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal=True)
        out = torch.einsum("bhte,dhe->btd", mixed, self.w_out)
        return SumOverRanks.apply(out) + self.b_out
