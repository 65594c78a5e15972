"""A small decoder-only transformer, a chain of modules that can be cut anywhere.

The attention is written out, so that its scores are tensors of their own, and can be counted: a fused kernel would
hide them. Text for it comes with Python, and needs no download.
"""

import functools
import math
from dataclasses import dataclass
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    """Sizes of a transformer. Each block has 12 width² weights, besides biases and norms."""

    vocabulary: int = 128  # tokens are the characters of ASCII
    length: int = 32  # tokens of a sequence at most
    width: int = 64
    heads: int = 4
    blocks: int = 4
    dropout: float = 0.0

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"width={self.width} does not divide into heads={self.heads} of one size")


class Embedding(nn.Module):
    """Tokens (batch, length), int64, to vectors (batch, length, width): one for the token, one for its place."""

    def __init__(self, config: Config):
        super().__init__()
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Embedding(config.length, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, length) int64 to (batch, length, width)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.dropout(self.tokens(tokens) + self.places(places))


class Attention(nn.Module):
    """Causal self-attention. Rows of `qkv.weight` are ordered as (query, key, value), head, place in the head."""

    def __init__(self, config: Config):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to the same shape."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = self.core(*qkv.unbind())
        return self.out(mixed.transpose(1, 2).reshape(batch, length, -1))

    def core(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """The part without weights, and with all that grows as length²; three times (batch, heads, length, size).

        It is a method of its own, so that selective checkpointing can wrap it.
        """
        length, size = query.shape[-2:]
        scores = query @ key.transpose(-2, -1) / math.sqrt(size)
        future = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.dropout(weights) @ value


class MLP(nn.Module):
    """Two linear layers with GELU between them, four times as wide inside."""

    def __init__(self, config: Config):
        super().__init__()
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to the same shape."""
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """Attention and MLP, each with a norm before it and a residual connection around both."""

    def __init__(self, config: Config):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(config.width), Attention(config)
        self.norm2, self.mlp = nn.LayerNorm(config.width), MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to the same shape."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Head(nn.Module):
    """Vectors (batch, length, width) to logits (batch, length, vocabulary)."""

    def __init__(self, config: Config):
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.logits = nn.Linear(config.width, config.vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, width) to (batch, length, vocabulary)."""
        return self.logits(self.norm(x))


class Transformer(nn.Module):
    """Embedding, blocks, head. The weights depend on `seed` alone, and the caller's random state is left as it was.

    Radford et al., Language models are unsupervised multitask learners, 2019 (the order of norms; scaled outputs).
    """

    def __init__(self, config: Config, seed: int = 0):
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = Embedding(config)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
            self.head = Head(config)
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    scaled = name.endswith(("out.weight", "down.weight"))
                    nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * config.blocks) if scaled else 1))

    @property
    def chain(self) -> list[nn.Module]:
        """The modules whose composition the model is: [embedding, block, ..., block, head]."""
        return [self.embedding, *self.blocks, self.head]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, length) int64 to logits (batch, length, vocabulary)."""
        x = tokens
        for module in self.chain:
            x = module(x)
        return x


def next_token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats; logits (batch, length, vocabulary), targets (batch, length) int64."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@functools.cache
def text() -> torch.Tensor:
    """Python's own handbook as ASCII codes, int64, some hundred thousand characters; others become "?"."""
    handbook = "\n".join(topics[name] for name in sorted(topics))
    codes = torch.tensor(bytearray(handbook.encode("ascii", "replace")), dtype=torch.uint8)
    return codes.long()


def text_batch(step: int, batch: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and, one place further on, their targets; both (batch, length) int64, drawn by `seed` and `step`.

    Who knows the number of the step knows the batch: a run that resumes needs no other state of its data.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    starts = torch.randint(len(text()) - length, (batch,), generator=generator)
    windows = text()[starts[:, None] + torch.arange(length + 1)]
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
