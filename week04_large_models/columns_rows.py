"""A transformer block cut over ranks by columns and rows, and along the sequence between the cuts.

Shoeybi et al., Megatron-LM, 2019 (columns and rows); Korthikanti et al., Reducing activation recomputation in large
transformer models, MLSys 2023 (the sequence). Both backward passes are written out, so that one sees each message.
"""

import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from effdl.memory import saved_tensors
from effdl.transformer import Block, Config, Transformer
from week04_large_models.traffic import Collectives, Sockets, pace


def start_sum(x: torch.Tensor, sequence: bool) -> tuple[torch.Tensor, dist.Work]:
    """The sum over all ranks of x (batch, length, width), or with `sequence` only this rank's part of the length.

    It is on its way: wait for the second before you read the first.
    """
    if not sequence:
        return x, dist.all_reduce(x, async_op=True)
    parts = [part.contiguous() for part in x.chunk(dist.get_world_size(), 1)]
    own = torch.empty_like(parts[0])
    return own, dist.reduce_scatter(own, parts, async_op=True)


def add_up(x: torch.Tensor, sequence: bool) -> torch.Tensor:
    """The same sum, when it has arrived."""
    total, on_its_way = start_sum(x, sequence)
    on_its_way.wait()
    return total


def whole(x: torch.Tensor, sequence: bool) -> torch.Tensor:
    """All tokens: x itself, or with `sequence` the parts of all ranks (batch, length / n, width) put together."""
    if not sequence:
        return x
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts, 1)


class Columns(torch.autograd.Function):
    """A linear layer that knows some of the outputs: nothing to add up forward, the input's gradient backward."""

    hide = True  # compute the gradient of the weights while that of the input is summed

    @staticmethod
    def forward(ctx, x, weight, bias, sequence):
        ctx.save_for_backward(x, weight)  # the part, not the whole: backward gathers it again
        ctx.sequence = sequence
        return F.linear(whole(x, sequence), weight, bias)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        x = whole(x, ctx.sequence)
        to_input, on_its_way = start_sum(gradient @ weight, ctx.sequence)
        if not Columns.hide:
            on_its_way.wait()
        to_weight = gradient.flatten(0, 1).T @ x.flatten(0, 1)
        on_its_way.wait()
        return to_input, to_weight, gradient.sum((0, 1)), None


class Rows(torch.autograd.Function):
    """A linear layer that knows some of the inputs: each rank has a term of every output, and terms add up."""

    @staticmethod
    def forward(ctx, x, weight, sequence):
        ctx.save_for_backward(x, weight)
        ctx.sequence = sequence
        return add_up(F.linear(x, weight), sequence)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        gradient = whole(gradient, ctx.sequence)
        return gradient @ weight, gradient.flatten(0, 1).T @ x.flatten(0, 1), None


class ParallelBlock(nn.Module):
    """This rank's part of a `Block`: some of the heads, some of the inner units, and what lies outside of both.

    With `sequence`, norms and residuals work on this rank's part of the tokens, otherwise on all of them, on every
    rank. Raises ValueError if the heads do not divide among the ranks. Without dropout.
    """

    def __init__(self, block: Block, sequence: bool = False):
        super().__init__()
        world, rank = dist.get_world_size(), dist.get_rank()
        self.heads, self.sequence = block.attention.heads // world, sequence
        if block.attention.heads % world:
            raise ValueError(f"{block.attention.heads} heads do not divide among {world} ranks")

        def part(tensor: torch.Tensor, dim: int) -> nn.Parameter:
            return nn.Parameter(tensor.detach().chunk(world, dim)[rank].clone())

        attention, mlp = block.attention, block.mlp
        width = attention.out.in_features
        # A head is cut in no two: query, key and value give this rank the same heads.
        self.qkv = part(attention.qkv.weight.view(3, width, width), 1)
        self.qkv_bias = part(attention.qkv.bias.view(3, width), 1)
        self.out, self.down = part(attention.out.weight, 1), part(mlp.down.weight, 1)
        self.up, self.up_bias = part(mlp.up.weight, 0), part(mlp.up.bias, 0)
        # What every rank holds: two norms, and two biases that are added once, after the sum.
        self.norm1, self.norm2, self.core = block.norm1, block.norm2, attention.core
        self.out_bias, self.down_bias = attention.out.bias, mlp.down.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to the same shape; with `sequence` the length is this rank's."""
        x = x + self.attention(self.norm1(x)) + self.out_bias
        return x + self.mlp(self.norm2(x)) + self.down_bias

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Columns make the queries, keys and values of this rank's heads; rows mix the heads of all ranks."""
        qkv = Columns.apply(x, self.qkv.flatten(0, 1), self.qkv_bias.flatten(), self.sequence)
        batch, length, _ = qkv.shape
        qkv = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = self.core(*qkv.unbind()).transpose(1, 2).reshape(batch, length, -1)
        return Rows.apply(mixed, self.out, self.sequence)

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        """Each inner unit is a rank's own from its weights to its GELU, so that nobody is asked in between."""
        inner = F.gelu(Columns.apply(x, self.up, self.up_bias, self.sequence))
        return Rows.apply(inner, self.down, self.sequence)

    def shared_parameters(self) -> list[nn.Parameter]:
        """Norms and outer biases. With `sequence` a rank has their gradient for its tokens only: add them up."""
        return [*self.norm1.parameters(), *self.norm2.parameters(), self.out_bias, self.down_bias]


def compare_on_rank(config: Config, batch: int, sequence: bool) -> dict:
    """On a rank: one block cut over all ranks against the whole block, forward and backward, on the same input.

    Returns the largest difference of the output, of the input's gradient and of the weights' gradients; the
    collectives of a forward and of a backward by name; the bytes that its sockets send for both, and what formulas
    say; and the bytes that it saves for the backward pass.
    """
    world, rank = dist.get_world_size(), dist.get_rank()
    block = Transformer(config).blocks[0]
    generator = torch.Generator().manual_seed(1)
    x, towards = torch.randn(2, batch, config.length, config.width, generator=generator)

    def mine(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.chunk(world, 1)[rank] if sequence else tensor

    part, own = ParallelBlock(block, sequence), mine(x).clone().requires_grad_()
    with Sockets() as out, Collectives() as forward, saved_tensors(besides=part.parameters()) as saved:
        y = part(own)
        kept = saved.bytes
    with Sockets() as home, Collectives() as backward:
        (y * mine(towards)).sum().backward()
    shared = torch.cat([p.grad.flatten() for p in part.shared_parameters()])
    if sequence:
        dist.all_reduce(shared)
    theirs = [shared, *(getattr(part, name).grad for name in ("qkv", "out", "up", "down"))]
    block.zero_grad()
    full = x.clone().requires_grad_()
    expected = block(full)
    (expected * towards).sum().backward()
    return {
        "output": _largest(y, mine(expected)),
        "input gradient": _largest(own.grad, mine(full.grad)),
        "weight gradients": max(map(_largest, theirs, _gradients(block, rank, world))),
        "forward": forward.names,
        "backward": backward.names,
        "sent forward": out.sent,
        "sent backward": home.sent,
        "formula forward": forward.by_formula,
        "formula backward": backward.by_formula,
        "saved": kept,
    }


def hidden_sums_on_rank(config: Config, batch: int, rate: float, rounds: int) -> dict[str, list[float]]:
    """On a rank: seconds of a block's backward pass over links of `rate` bytes per second, in turns, in two ways.

    "waits" adds up a column layer's gradient before it goes on, "computes meanwhile" computes the gradient of the
    weights while the sum is under way.
    """
    part = ParallelBlock(Transformer(config).blocks[0])
    x = torch.randn(batch, config.length, config.width, requires_grad=True)
    dist.barrier()
    pace(rate)
    samples: dict[str, list[float]] = {"waits": [], "computes meanwhile": []}
    for turn in range(rounds + 1):
        for name in samples if turn % 2 else reversed(samples):
            Columns.hide = name != "waits"
            loss = part(x).sum()
            dist.barrier()
            begin = time.perf_counter()
            loss.backward()
            dist.barrier()
            if turn:
                samples[name].append(time.perf_counter() - begin)
    return samples


def _gradients(block: Block, rank: int, world: int) -> list[torch.Tensor]:
    """Of the whole block, in the order and the parts of `compare_on_rank`."""
    attention, mlp = block.attention, block.mlp
    biases = [attention.out.bias, mlp.down.bias]
    shared = [*block.norm1.parameters(), *block.norm2.parameters(), *biases]
    width = attention.out.in_features
    cut = [(attention.qkv.weight.grad.view(3, width, width), 1), (attention.out.weight.grad, 1)]
    cut += [(mlp.up.weight.grad, 0), (mlp.down.weight.grad, 1)]
    return [torch.cat([p.grad.flatten() for p in shared]), *(g.chunk(world, d)[rank] for g, d in cut)]


def _largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).detach().abs().max())


def bytes_sent(tokens: int, width: int, ranks: int, itemsize: int = 4) -> float:
    """What a rank sends for one block forward: two sums of all activations, cut along the sequence or not.

    An all-reduce is a reduce-scatter and an all-gather, so cutting the sequence adds nothing to the forward pass.
    """
    return 2 * 2 * (ranks - 1) / ranks * tokens * width * itemsize
