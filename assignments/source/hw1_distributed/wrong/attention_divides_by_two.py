# replaces: tensor_parallel.py
# caught by: parallel_layers_in_awkward_worlds
# mistake: halves the number of heads, whatever the number of ranks
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function


class CopyToRanks(Function):
    """Where the ranks' ways part: nothing to do in forward, as all ranks hold the input already."""

    @staticmethod
    def forward(ctx, value: torch.Tensor) -> torch.Tensor:
        """Return `value`."""
        return value.view_as(value)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of `value`, which every rank used in its own way."""
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SumOverRanks(Function):
    """Where the ranks' ways join again."""

    @staticmethod
    def forward(ctx, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of `value` over all ranks; `value` itself is left as it is."""
        total = value.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient of this rank's `value`; `gradient` is the same on every rank."""
        return gradient


def _own(whole: torch.Tensor, rank: int, size: int, dim: int) -> torch.Tensor:
    """Return this rank's slice of `whole` along `dim`, in memory of its own: a view would keep all of it alive."""
    return whole.detach().chunk(size, dim)[rank].clone(memory_format=torch.contiguous_format)


class ParallelMLP(nn.Module):
    """gelu(x W1^T + b1) W2^T + b2, its hidden units divided among the ranks. One all-reduce each way."""

    def __init__(self, w1, b1, w2, b2, rank: int, size: int):
        """Keep this rank's part of the whole weights w1 [H, D], b1 [H], w2 [D, H], b2 [D], as parameters.

        H divides by `size`. A rank keeps H / size hidden units and nothing of the others; b2 is on every rank.
        """
        super().__init__()
        self.w1, self.b1 = nn.Parameter(_own(w1, rank, size, 0)), nn.Parameter(_own(b1, rank, size, 0))
        self.w2, self.b2 = nn.Parameter(_own(w2, rank, size, 1)), nn.Parameter(b2.detach().clone())

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return the output [B, T, D] of the whole MLP for `value` [B, T, D]; both are the same on every rank."""
        hidden = F.gelu(F.linear(CopyToRanks.apply(value), self.w1, self.b1))
        return SumOverRanks.apply(F.linear(hidden, self.w2)) + self.b2


class ParallelAttention(nn.Module):
    """Causal self-attention, its heads divided among the ranks. One all-reduce each way."""

    def __init__(self, w_qkv, b_qkv, w_out, b_out, heads: int, rank: int, size: int):
        """Keep this rank's part of the whole weights w_qkv [3 D, D], b_qkv [3 D], w_out [D, D], b_out [D].

        The rows of w_qkv are those of all queries, then all keys, then all values; within each, D / heads rows
        belong to one head after the other. `heads` divides by `size`; b_out is on every rank.
        """
        super().__init__()
        self.heads = heads // 2
        w_parts = [_own(part, rank, size, 0) for part in w_qkv.chunk(3)]
        b_parts = [_own(part, rank, size, 0) for part in b_qkv.chunk(3)]
        self.w_qkv, self.b_qkv = nn.Parameter(torch.cat(w_parts)), nn.Parameter(torch.cat(b_parts))
        self.w_out, self.b_out = (
            nn.Parameter(_own(w_out, rank, size, 1)),
            nn.Parameter(b_out.detach().clone()),
        )

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return the output [B, T, D] of the whole attention for `value` [B, T, D], the same on every rank."""
        qkv = F.linear(CopyToRanks.apply(value), self.w_qkv, self.b_qkv)
        query, key, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(query, key, values, is_causal=True)
        return SumOverRanks.apply(F.linear(mixed.transpose(1, 2).flatten(2), self.w_out)) + self.b_out
