"""Routing of tokens to many experts, and four ways to multiply what was routed.

Shazeer et al., *Outrageously Large Neural Networks*, ICLR 2017 (the layer); Gale et al., *MegaBlocks*, MLSys 2023 (no
token dropped); Wang et al., *Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts*, 2024 (the bias).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


def choose(
    scores: torch.Tensor, k: int, bias: torch.Tensor | float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k experts of each token and their weights: scores (T, experts), positive, to two tensors (T, k).

    The bias (experts,) moves the choice and nothing else: the weights are the scores of the chosen, over their sum.
    """
    experts = (scores + bias).topk(k, dim=-1).indices
    picked = scores.gather(-1, experts)
    return experts, picked / picked.sum(-1, keepdim=True)


def choose_near(scores: torch.Tensor, k: int, nodes: int, limit: int) -> torch.Tensor:
    """The k experts (T, k) of each token, on `limit` of `nodes` nodes at most; a node has neighbouring experts.

    A node counts as the sum of its best k // limit scores, as in DeepSeek-V3.
    """
    by_node = scores.unflatten(-1, (nodes, -1))
    value = by_node.topk(max(k // limit, 1), dim=-1).values.sum(-1)
    allowed = torch.zeros_like(value, dtype=torch.bool).scatter(-1, value.topk(limit, dim=-1).indices, True)
    return by_node.masked_fill(~allowed.unsqueeze(-1), -math.inf).flatten(-2).topk(k, dim=-1).indices


def skewed(tokens: int, count: int, k: int, skew: float, seed: int = 0) -> torch.Tensor:
    """Drawn choices (tokens, k), without repetition: the i-th expert is liked in proportion to (i + 1) ** -skew."""
    generator = torch.Generator().manual_seed(seed)
    liking = -skew * torch.arange(1, count + 1).log()
    gumbel = -torch.empty(tokens, count).exponential_(generator=generator).log()
    return (liking + gumbel).topk(k, dim=-1).indices


def capacity_bill(experts: torch.Tensor, count: int, factor: float) -> tuple[float, float]:
    """With buffers of `factor` fair shares: the share of choices dropped, and the share of places that are empty."""
    loads = experts.flatten().bincount(minlength=count)
    room = math.ceil(factor * experts.numel() / count)
    kept = int(loads.clamp(max=room).sum())
    return 1 - kept / experts.numel(), 1 - kept / (room * count)


class Experts(nn.Module):
    """`count` MLPs of width -> inner -> width, of which each token uses k: the weights, and ways to multiply them."""

    def __init__(self, width: int, inner: int, count: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.count = count
        self.up = nn.Parameter(torch.randn(count, width, inner, generator=generator) / math.sqrt(width))
        self.down = nn.Parameter(torch.randn(count, inner, width, generator=generator) / math.sqrt(inner))

    def dense(self, x: torch.Tensor, experts: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The specification: every expert answers every token. x (T, width) to the same shape."""
        answers = F.gelu(x @ self.up) @ self.down  # (count, T, width)
        mix = torch.zeros(len(x), self.count).scatter(1, experts, weights)
        return torch.einsum("etw,te->tw", answers, mix)

    def looped(self, x: torch.Tensor, experts: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """One expert after the other: find its tokens, multiply, add."""
        out = torch.zeros_like(x)
        for number in range(self.count):
            token, choice = (experts == number).nonzero(as_tuple=True)
            answer = F.gelu(x[token] @ self.up[number]) @ self.down[number]
            out.index_add_(0, token, answer * weights[token, choice, None])
        return out

    def grouped(self, x: torch.Tensor, experts: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Sort the choices by expert, multiply the stretches in one call, and add.

        `grouped_mm` wants rows of a multiple of 16 bytes: width and inner divide by 4.
        """
        chosen, order = experts.flatten().sort(stable=True)
        ends = chosen.bincount(minlength=self.count).cumsum(0).int()
        token = order // experts.shape[1]
        inside = F.gelu(F.grouped_mm(x[token], self.up, offs=ends))
        answer = F.grouped_mm(inside, self.down, offs=ends) * weights.flatten()[order, None]
        return torch.zeros_like(x).index_add(0, token, answer)

    def padded(
        self, x: torch.Tensor, experts: torch.Tensor, weights: torch.Tensor, factor: float
    ) -> torch.Tensor:
        """Buffers of `factor` fair shares for each expert; what finds no room is dropped."""
        room = math.ceil(factor * experts.numel() / self.count)
        chosen, order = experts.flatten().sort(stable=True)
        starts = chosen.bincount(minlength=self.count).cumsum(0).roll(1)
        starts[0] = 0
        place = torch.arange(len(order)) - starts[chosen]
        kept = place < room
        chosen, order, place = chosen[kept], order[kept], place[kept]
        token = order // experts.shape[1]
        buffers = x.new_zeros(self.count, room, x.shape[1]).index_put((chosen, place), x[token])
        answers = F.gelu(buffers @ self.up) @ self.down
        return torch.zeros_like(x).index_add(
            0, token, answers[chosen, place] * weights.flatten()[order, None]
        )


def touched(experts: torch.Tensor, count: int) -> float:
    """The share of the experts that at least one of the tokens (T, k) chose."""
    return len(experts.unique()) / count


def expected_touched(count: int, k: int, batch: int) -> float:
    """The same, where tokens choose independently and all experts alike."""
    return 1 - (1 - k / count) ** batch


def busiest(experts: torch.Tensor, count: int) -> float:
    """The load of the busiest expert, in units of the mean load."""
    loads = experts.flatten().bincount(minlength=count).float()
    return float(loads.max() / loads.mean())


def nodes_of_others(experts: torch.Tensor, count: int, nodes: int) -> torch.Tensor:
    """Copies of each token that leave its node, (2, T): one a choice, one a node. Token t lives on t mod nodes."""
    where = experts // (count // nodes)
    home = (torch.arange(len(experts)) % nodes).unsqueeze(1)
    visited = torch.zeros(len(experts), nodes).scatter(1, where, 1.0).scatter(1, home, 0.0)
    return torch.stack([(where != home).sum(1).float(), visited.sum(1)])


def settle(update, rate: float = 0.01, steps: int = 300) -> float:
    """Run `update(bias, loads, rate)` on the router of a skewed stream of tokens; return the busiest load afterwards.

    16 experts, two of them chosen; a fresh batch of 512 tokens in each step. 1 is an even load.
    """
    generator = torch.Generator().manual_seed(3)
    gate = torch.randn(32, 16, generator=generator) / 4
    centre = torch.randn(32, generator=generator) / 2
    bias, last = torch.zeros(16), []
    for _ in range(steps):
        scores = ((torch.randn(512, 32, generator=generator) + centre) @ gate).sigmoid()
        experts, _ = choose(scores, 2, bias)
        last.append(busiest(experts, 16))
        bias = update(bias.clone(), experts.flatten().bincount(minlength=16).float(), rate)
    return sum(last[-20:]) / 20
