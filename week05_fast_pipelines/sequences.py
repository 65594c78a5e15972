"""Texts of unequal length in batches, four ways, and a small transformer that does not care which.

A batch says for each place which token stands there, to which text it belongs, and where in that text it is. That is
all a model needs to treat a text in a pack as if it were alone.
"""

import functools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from effdl import data
from week05_fast_pipelines import packing

NOTHING = -100
"""The target of a place that does not count, as F.cross_entropy has it."""
VOCABULARY = 1024
_TOKEN = re.compile(r"\w+|[^\w\s]")


@functools.cache
def texts(longest: int) -> tuple[np.ndarray, ...]:
    """The standard library's docstrings of 2 to `longest` tokens, each (tokens,) int64.

    A token is a word or a sign, by a hash of it; a longer text is left out.
    """
    found = []
    for text in data.docstrings(1.5):
        tokens = _TOKEN.findall(text)
        if 2 <= len(tokens) <= longest:
            found.append(np.array([zlib.crc32(token.encode()) % VOCABULARY for token in tokens]))
    return tuple(found)


@dataclass(frozen=True)
class Batch:
    """Four tensors (rows, length), int64: tokens, number of the text (-1 for padding), place in it, next token."""

    tokens: torch.Tensor
    text: torch.Tensor
    place: torch.Tensor
    target: torch.Tensor

    @property
    def counting(self) -> int:
        """Targets that count."""
        return int((self.target != NOTHING).sum())

    @property
    def padding(self) -> float:
        """Share of the places that hold no token."""
        return float((self.text < 0).float().mean())


def lay_out(rows: Sequence[Sequence[np.ndarray]], length: int) -> Batch:
    """A batch with several texts in each row, end to end; each row is filled up to `length`."""
    shape = (len(rows), length)
    tokens, text, place = np.zeros(shape, np.int64), np.full(shape, -1), np.zeros(shape, np.int64)
    target = np.full(shape, NOTHING)
    number = 0
    for row, parts in enumerate(rows):
        start = 0
        for part in parts:
            end = start + len(part)
            tokens[row, start:end], text[row, start:end] = part, number
            place[row, start:end] = np.arange(len(part))
            target[row, start : end - 1] = part[1:]  # the last token of a text does not predict the next text
            start, number = end, number + 1
    return Batch(*(torch.from_numpy(array) for array in (tokens, text, place, target)))


def fixed(parts: Sequence[np.ndarray], size: int, longest: int) -> list[Batch]:
    """Batches of `size` texts, all as long as the longest that can be."""
    return [lay_out([[part] for part in parts[k : k + size]], longest) for k in range(0, len(parts), size)]


def per_batch(parts: Sequence[np.ndarray], size: int) -> list[Batch]:
    """Batches of `size` texts, each as long as its longest text."""
    groups = [parts[k : k + size] for k in range(0, len(parts), size)]
    return [lay_out([[part] for part in group], max(map(len, group))) for group in groups]


def bucketed(parts: Sequence[np.ndarray], size: int, pool: int, seed: int = 0) -> list[Batch]:
    """The same, from texts sorted by length within pools of `pool` batches; batches in random order."""
    width = size * pool
    pools = [sorted(parts[k : k + width], key=len) for k in range(0, len(parts), width)]
    batches = [batch for some in pools for batch in per_batch(some, size)]
    return [batches[k] for k in np.random.default_rng(seed).permutation(len(batches))]


def packed(
    parts: Sequence[np.ndarray], rows: int, capacity: int, rule: str = packing.FIRST_FIT
) -> list[Batch]:
    """Batches of `rows` packs of `capacity` tokens, in random order."""
    lengths = np.array([len(part) for part in parts])
    groups = packing.pack(packing.histogram(lengths, capacity), capacity, rule)
    made = [list(row) for group in packing.members(lengths, groups) for row in group]
    made = [made[k] for k in np.random.default_rng(0).permutation(len(made))]
    filled = [[parts[k] for k in row] for row in made]
    return [lay_out(filled[k : k + rows], capacity) for k in range(0, len(filled), rows)]


def block_diagonal(batch: Batch) -> torch.Tensor:
    """Who may look at whom: (rows, 1, length, length) bool; at the same text only, and not ahead."""
    same = batch.text[:, :, None] == batch.text[:, None, :]
    return same.tril()[:, None]


class Reader(nn.Module):
    """A decoder-only transformer with learned places; weights by `seed` alone.

    `forward` takes a mask, or None for plain causal attention, which is right where each row is one text that begins
    the row: what is to its right cannot be seen, and padding does not count.
    """

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 2, longest: int = 256, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tokens = nn.Embedding(VOCABULARY, width)
            self.places = nn.Embedding(longest, width)
            self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
            self.norm = nn.LayerNorm(width)
            self.logits = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: torch.Tensor, place: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Tokens and places (rows, length) int64 to logits (rows, length, vocabulary)."""
        x = self.tokens(tokens) + self.places(place)
        for block in self.blocks:
            x = block(x, mask)
        return self.logits(self.norm(x))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        rows, length, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv.unbind(), attn_mask=mask, is_causal=mask is None)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, -1))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def summed_loss(model: Reader, batch: Batch, mask: bool = True, restart: bool = True) -> torch.Tensor:
    """Sum of the cross-entropy over all targets of a batch, in nats.

    With `mask`, texts of a row do not see each other; with `restart`, each counts its places from 0.
    """
    place = batch.place if restart else torch.arange(batch.tokens.shape[1]).expand_as(batch.tokens)
    logits = model(batch.tokens, place, block_diagonal(batch) if mask else None)
    return F.cross_entropy(
        logits.flatten(0, 1), batch.target.flatten(), ignore_index=NOTHING, reduction="sum"
    )


def gradient(model: Reader, batches: Sequence[Batch], **options: bool) -> tuple[float, torch.Tensor]:
    """Mean loss of a token over all batches, and its gradient as one vector."""
    model.zero_grad()
    count = sum(batch.counting for batch in batches)
    total = sum(summed_loss(model, batch, **options) for batch in batches) / count
    total.backward()
    return total.item(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def against_single(
    model: Reader, single: Sequence[Batch], packs: Sequence[Batch]
) -> dict[tuple[bool, bool], tuple[float, float]]:
    """How far loss and gradient of packed texts are from those of single ones, by (mask, restart).

    The loss relative to the single texts' loss, the gradient by the length of the difference over its own.
    """
    loss, right = gradient(model, single, mask=False)
    found = {}
    for mask in (True, False):
        for restart in (True, False):
            other, whole = gradient(model, packs, mask=mask, restart=restart)
            found[mask, restart] = abs(other / loss - 1), float((whole - right).norm() / right.norm())
    return found


def train(model: Reader, batches: Sequence[Batch], masks: bool, rate: float = 1e-3) -> int:
    """A step of Adam for each batch; how many targets counted. Rows of one text need no masks."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for batch in batches:
        optimizer.zero_grad()
        (summed_loss(model, batch, mask=masks) / batch.counting).backward()
        optimizer.step()
    return sum(batch.counting for batch in batches)
