"""Context parallelism: causal attention whose sequence is spread over ranks, in the two ways that are in use.

*Ring attention* leaves queries where they are and passes keys and values around. A rank adds up its softmax piece by
piece, as a fused kernel does tile by tile. *Ulysses* exchanges once, from a part of the tokens to a part of the
heads, computes whole heads, and exchanges back.

Liu, Zaharia & Abbeel, Ring attention with blockwise transformers, ICLR 2024; Brandon et al., Striped attention, 2023,
and the zig-zag order of Megatron-LM and Llama 3 (balance); Jacobs et al., DeepSpeed-Ulysses, 2023.
"""

import math

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from week04_large_models.experts import Exchange
from week04_large_models.traffic import Sockets


def in_order(rank: int, ranks: int) -> list[int]:
    """Which of 2 n chunks of the sequence a rank holds: two neighbours."""
    return [2 * rank, 2 * rank + 1]


def zig_zag(rank: int, ranks: int) -> list[int]:
    """One early chunk and one late: with causal attention every rank then has the same number of tiles to compute."""
    return [rank, 2 * ranks - 1 - rank]


ORDERS = {"in order": in_order, "zig-zag": zig_zag}


def mine(x: torch.Tensor, order=zig_zag) -> torch.Tensor:
    """This rank's chunks of x (batch, heads, length, size), along the length."""
    parts = x.chunk(2 * dist.get_world_size(), 2)
    return torch.cat([parts[i] for i in order(dist.get_rank(), dist.get_world_size())], 2)


def tiles(rank: int, ranks: int, order) -> int:
    """How many pairs of a chunk of queries and a chunk of keys are not masked altogether, on a rank."""
    return sum(chunk + 1 for chunk in order(rank, ranks))


def _pass_on(x: torch.Tensor) -> torch.Tensor:
    """Send x to the next rank of the ring, and return what the rank before has sent."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    if ranks == 1:
        return x
    received = torch.empty_like(x)
    out = dist.P2POp(dist.isend, x.contiguous(), (rank + 1) % ranks)
    home = dist.P2POp(dist.irecv, received, (rank - 1) % ranks)
    for work in dist.batch_isend_irecv([out, home]):
        work.wait()
    return received


def _scores(q: torch.Tensor, k: torch.Tensor, diagonal: bool) -> torch.Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if not diagonal:
        return scores
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -math.inf)


class RingAttention(torch.autograd.Function):
    """Causal attention of q, k, v (batch, heads, this rank's length, size), whose chunks lie as `order` says.

    Kept for the backward pass are this rank's tensors only: keys and values make the round once more, and their
    gradients travel with them.
    """

    @staticmethod
    def forward(ctx, q, k, v, order):
        ranks, rank = dist.get_world_size(), dist.get_rank()
        queries = list(zip(order(rank, ranks), q.chunk(2, 2), strict=True))
        out = [torch.zeros_like(part) for _, part in queries]
        total = [
            part.new_full((*part.shape[:-1], 1), -math.inf) for _, part in queries
        ]  # log of softmax's sum
        travelling = torch.stack([k, v])
        for step in range(ranks):
            if step:
                travelling = _pass_on(travelling)
            owner = (rank - step) % ranks  # whose keys and values have arrived
            halves = zip(order(owner, ranks), *(x.chunk(2, 2) for x in travelling), strict=True)
            for j, keys, values in halves:
                for place, (i, part) in enumerate(queries):
                    if j <= i:
                        scores = _scores(part, keys, i == j)
                        both = torch.logaddexp(total[place], scores.logsumexp(-1, keepdim=True))
                        out[place] = out[place] * (total[place] - both).exp() + (scores - both).exp() @ values
                        total[place] = both
        out, total = torch.cat(out, 2), torch.cat(total, 2)
        ctx.save_for_backward(q, k, v, out, total)
        ctx.order = order
        return out

    @staticmethod
    def backward(ctx, gradient):
        q, k, v, out, total = ctx.saved_tensors
        ranks, rank, scale = dist.get_world_size(), dist.get_rank(), 1 / math.sqrt(q.shape[-1])
        # Softmax's derivative needs one number of each row: the sum of output times gradient.
        split = [x.chunk(2, 2) for x in (q, gradient, total, (out * gradient).sum(-1, keepdim=True))]
        queries = list(zip(ctx.order(rank, ranks), *split, strict=True))
        to_q = torch.zeros_like(q)
        travelling = torch.stack([k, v, torch.zeros_like(k), torch.zeros_like(v)])
        for step in range(ranks):
            if step:
                travelling = _pass_on(travelling)
            owner = (rank - step) % ranks
            halves = zip(ctx.order(owner, ranks), *(x.chunk(2, 2) for x in travelling), strict=True)
            for j, keys, values, to_keys, to_values in halves:
                for (i, part, arrived, log, row), to_part in zip(queries, to_q.chunk(2, 2), strict=True):
                    if j <= i:
                        weights = (_scores(part, keys, i == j) - log).exp()
                        to_values += weights.transpose(-2, -1) @ arrived
                        to_scores = weights * (arrived @ values.transpose(-2, -1) - row) * scale
                        to_part += to_scores @ keys
                        to_keys += to_scores.transpose(-2, -1) @ part
        home = _pass_on(travelling[2:])  # one step more, and each gradient is at its owner's
        return to_q, home[0], home[1], None


def ring(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, order=zig_zag) -> torch.Tensor:
    """Causal attention over all ranks' tokens; all (batch, heads, this rank's length, size)."""
    return RingAttention.apply(q, k, v, order)


def ulysses(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The same for chunks that lie in order. Raises ValueError if the heads do not divide among the ranks."""
    ranks = dist.get_world_size()
    if q.shape[1] % ranks:
        raise ValueError(f"{q.shape[1]} heads do not divide among {ranks} ranks")
    # (3, batch, heads, part, size): part i of the heads goes to rank i, and from each rank come its tokens.
    by_heads = torch.stack(torch.stack([q, k, v]).chunk(ranks, 2))
    arrived = Exchange.apply(by_heads)
    whole = torch.cat(arrived.unbind(), 3)
    queries, keys, values = whole.unbind()
    answers = _scores(queries, keys, True).softmax(-1) @ values
    by_tokens = Exchange.apply(torch.stack(answers.chunk(ranks, 2)))
    return torch.cat(by_tokens.unbind(), 1)


WAYS = {
    "ring, in order": (in_order, lambda q, k, v: ring(q, k, v, in_order)),
    "ring, zig-zag": (zig_zag, ring),
    "Ulysses": (in_order, ulysses),
}


def compare_on_rank(length: int, heads: int, size: int, batch: int = 2) -> dict[str, dict]:
    """On a rank, each way against the whole: largest differences forward and backward, bytes that sockets sent."""
    generator = torch.Generator().manual_seed(1)
    q, k, v, towards = torch.randn(4, batch, heads, length, size, generator=generator)
    whole = [x.clone().requires_grad_() for x in (q, k, v)]
    expected = _scores(whole[0], whole[1], True).softmax(-1) @ whole[2]
    (expected * towards).sum().backward()
    rank, ranks, found = dist.get_rank(), dist.get_world_size(), {}
    for name, (order, attention) in WAYS.items():
        parts = [mine(x, order).clone().requires_grad_() for x in (q, k, v)]
        with Sockets() as out:
            y = attention(*parts)
        with Sockets() as home:
            (y * mine(towards, order)).sum().backward()
        pairs = zip(parts, whole, strict=True)
        found[name] = {
            "output": _largest(y, mine(expected, order)),
            "gradients": max(_largest(part.grad, mine(x.grad, order)) for part, x in pairs),
            "sent forward": out.sent,
            "sent backward": home.sent,
            # With Ulysses a rank has all tiles of its share of the heads.
            "tiles": 2 * ranks + 1 if attention is ulysses else tiles(rank, ranks, order),
        }
    return found


class _Products(TorchDispatchMode):
    """Counts the floating-point operations of batched matrix products, forward and backward."""

    operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name == "aten::bmm":
            batch, rows, inner = args[0].shape
            self.operations += 2 * batch * rows * inner * args[1].shape[2]
        return function(*args, **(kwargs or {}))

    @classmethod
    def _should_skip_dynamo(cls):
        return False


def work_on_rank(length: int, heads: int, size: int) -> dict[str, int]:
    """On a rank: operations of the matrix products that it really runs in a forward pass, in each order."""
    x, found = torch.ones(1, heads, length, size), {}
    for name, order in ORDERS.items():
        part = mine(x, order)
        with _Products() as counted:
            ring(part, part, part, order)
        found[name] = counted.operations
    return found


def _largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).detach().abs().max())
