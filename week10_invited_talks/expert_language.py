"""A small language model whose MLPs are experts: many small ones, shared ones, and three ways to balance them.

Dai et al., *DeepSeekMoE*, ACL 2024; Fedus et al., *Switch Transformers*, JMLR 2022 (the balance loss).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from effdl import launch
from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week10_invited_talks.routing import Experts, busiest, choose

CONFIG = Config(length=32, width=32, heads=2, blocks=1)
ACTIVE = 128
"""Inner width that a token uses, in every layout: that of the ordinary MLP."""


@dataclass(frozen=True)
class Layout:
    """`count` routed experts of which k answer a token, and `shared` experts that answer all; each as wide."""

    count: int
    k: int
    shared: int = 0

    @property
    def inner(self) -> int:
        """Inner width of one expert, such that a token uses ACTIVE."""
        return ACTIVE // (self.k + self.shared)


class Layer(nn.Module):
    """Router and experts in the place of an MLP. After a call, `experts` and `scores` hold the last routing."""

    def __init__(self, layout: Layout, rate: float, seed: int):
        super().__init__()
        width, self.layout, self.rate = CONFIG.width, layout, rate
        generator = torch.Generator().manual_seed(seed)
        self.gate = nn.Parameter(torch.randn(width, layout.count, generator=generator) / width**0.5)
        self.routed = Experts(width, layout.inner, layout.count, seed)
        self.always = Experts(width, layout.inner * layout.shared, 1, seed + 1) if layout.shared else None
        self.register_buffer("bias", torch.zeros(layout.count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to the same shape."""
        tokens = x.flatten(0, -2)
        self.scores = (tokens @ self.gate).sigmoid()
        self.experts, weights = choose(self.scores, self.layout.k, self.bias)
        answer = self.routed.grouped(tokens, self.experts, weights)
        if self.training:
            loads = self.experts.flatten().bincount(minlength=self.layout.count).float()
            self.bias += self.rate * (loads.mean() - loads).sign()
        if self.always is not None:
            answer = answer + torch.nn.functional.gelu(tokens @ self.always.up[0]) @ self.always.down[0]
        return answer.view(x.shape)

    def balance(self) -> torch.Tensor:
        """The auxiliary loss: 1 where all experts get the same."""
        shares = self.scores / self.scores.sum(-1, keepdim=True)
        loads = self.experts.flatten().bincount(minlength=self.layout.count) / self.experts.numel()
        return self.layout.count * (loads * shares.mean(0)).sum()


@dataclass(frozen=True)
class Trained:
    """A trained model, its loss in nats on fresh text, and the busiest load over the mean load there."""

    model: Transformer
    loss: float
    busiest: float


def train(layout: Layout | None, seed: int, steps: int, rate: float = 0.0, auxiliary: float = 0.0) -> Trained:
    """Adam, rate 3e-3, 512 characters a step. `rate` moves the bias, `auxiliary` weighs the balance loss.

    Without a layout the MLP stays. Both depend on the seed: the weights, and the order of the text.
    """
    model = Transformer(CONFIG, seed)
    block = model.blocks[0]
    if layout is not None:
        block.mlp = Layer(layout, rate, seed)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        tokens, targets = text_batch(step, 16, CONFIG.length, seed)
        loss = next_token_loss(model(tokens), targets)
        if auxiliary:
            loss = loss + auxiliary * block.mlp.balance()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        tokens, targets = text_batch(0, 128, CONFIG.length, 999)
        loss = float(next_token_loss(model(tokens), targets))
    return Trained(model, loss, 1.0 if layout is None else busiest(block.mlp.experts, layout.count))


def train_all(
    runs: Mapping[str, tuple[Layout | None, float, float]], seeds: Sequence[int], steps: int
) -> dict[str, list[Trained]]:
    """`train` for each run, (layout, rate, auxiliary), and each of its seeds; two of them at a time, on two ranks."""
    each = [(layout, seed, steps, *rates) for layout, *rates in runs.values() for seed in seeds]
    found: list[Trained] = [None] * len(each)
    found[::2], found[1::2] = launch.run(_every_second, 2, args=(each,), deadline=600)
    return {name: found[n * len(seeds) : (n + 1) * len(seeds)] for n, name in enumerate(runs)}


def _every_second(each: list[tuple]) -> list[Trained]:
    return [train(*arguments) for arguments in each[dist.get_rank() :: 2]]


@torch.no_grad()
def choices(trained: Trained) -> torch.Tensor:
    """The experts (sequences, length, k) that a trained model chooses on 64 stretches of fresh text."""
    tokens, _ = text_batch(1, 64, CONFIG.length, 999)
    trained.model(tokens)
    return trained.model.blocks[0].mlp.experts.view(64, CONFIG.length, -1)
