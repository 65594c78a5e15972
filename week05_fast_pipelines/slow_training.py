"""A training script that is slow for eight reasons: a small language model on Python's own handbook.

    python -m week05_fast_pipelines.slow_training

Nothing in it is wrong enough to raise an error, and the loss falls. Each of the eight parts below has a flaw that its
author had a reason for. A part can be exchanged: ``train(dataclasses.replace(SLOW, read=mine))``.
"""

import json
import math
import os
import string
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY = string.printable  # 100 characters; what is not among them reads as the last
LENGTH, BATCH, WIDTH, HEADS, BLOCKS = 32, 8, 32, 2, 6
CHUNKS = 24  # pieces of text of LENGTH + 1 characters: the whole training set
RATE = 1e-3


# ---------------------------------------------------------------------------------------------------------------
# The eight parts
# ---------------------------------------------------------------------------------------------------------------


def batches(chunks: list[str], size: int) -> Iterator[list[str]]:
    """The batches of one pass: lists of `size` chunks, in order. What does not fill a batch is left out."""
    for start in range(len(chunks) - size + 1):
        yield chunks[start : start + size]


def read(texts: list[str]) -> torch.Tensor:
    """Texts of one length as numbers of their characters, (texts, length), int64."""
    rows = []
    for text in texts:
        row = torch.zeros(0, dtype=torch.int64)
        for character in text:
            place = VOCABULARY.find(character)
            row = torch.cat([row, torch.tensor([place if place >= 0 else len(VOCABULARY) - 1])])
        rows.append(row)
    return torch.stack(rows)


def positions(length: int, width: int) -> torch.Tensor:
    """Sines and cosines of places, (length, width): Vaswani et al. 2017."""
    place, pair = np.arange(length)[:, None], np.arange(width // 2)[None, :]
    angle = place / 10000 ** (2 * pair / width)
    return torch.from_numpy(np.concatenate([np.sin(angle), np.cos(angle)], axis=1))


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Causal attention. Queries, keys and values (batch, length, width), and so is the result."""
    batch, length, width = q.shape

    def apart(x: torch.Tensor) -> torch.Tensor:
        x = x.permute(2, 0, 1).contiguous().view(heads, width // heads, batch, length)
        return x.permute(2, 0, 3, 1).contiguous()

    mixed = F.scaled_dot_product_attention(apart(q), apart(k), apart(v), is_causal=True)
    mixed = mixed.permute(1, 3, 0, 2).contiguous().view(width, batch, length)
    return mixed.permute(1, 2, 0).contiguous()


def norm(gradients: list[torch.Tensor]) -> float:
    """The norm of all gradients together. Raises FloatingPointError if one of them holds inf or NaN."""
    total = 0.0
    for gradient in gradients:
        if torch.isnan(gradient).any().item() or torch.isinf(gradient).any().item():
            raise FloatingPointError("a gradient is not finite")
        total += gradient.pow(2).sum().item()
    return math.sqrt(total)


class Adam:
    """Kingma & Ba 2015, with the usual constants."""

    def __init__(self, parameters: list[nn.Parameter], rate: float):
        self.parameters, self.rate, self.steps = parameters, rate, 0
        self.means = [torch.zeros_like(p) for p in parameters]
        self.squares = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """One step down the gradients of the parameters."""
        self.steps += 1
        for p, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
            mean.copy_(0.9 * mean + 0.1 * p.grad)
            square.copy_(0.999 * square + 0.001 * p.grad**2)
            unbiased = mean / (1 - 0.9**self.steps)
            root = torch.sqrt(square / (1 - 0.999**self.steps))
            p.sub_(self.rate * unbiased / (root + 1e-8))


class Log:
    """A file with one line of JSON for each entry."""

    def __init__(self, path: Path):
        self.file = open(path, "w", encoding="utf-8")  # noqa: SIM115

    def write(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """From now on the file holds every entry, whatever happens."""
        self.file.close()


class History:
    """What the model expected of every character, for a plot after the training."""

    def __init__(self, batches: int):
        self.kept = torch.zeros(0)

    def add(self, logits: torch.Tensor) -> None:
        """Keep the logits of a batch, (texts, length, characters)."""
        for text in logits.detach().float():
            self.kept = torch.cat([self.kept, text.flatten()])

    def all(self) -> torch.Tensor:
        """Everything that was added, as one vector of float32."""
        return self.kept


@dataclass(frozen=True)
class Parts:
    """The parts of the script that can be exchanged."""

    batches: Callable[[list[str], int], Iterator[list[str]]] = batches
    read: Callable[[list[str]], torch.Tensor] = read
    log: Callable[[Path], Any] = Log
    optimizer: Callable[[list[nn.Parameter], float], Any] = Adam
    norm: Callable[[list[torch.Tensor]], float] = norm
    positions: Callable[[int, int], torch.Tensor] = positions
    attention: Callable[..., torch.Tensor] = attention
    history: Callable[[int], Any] = History


SLOW = Parts()


# ---------------------------------------------------------------------------------------------------------------
# Model and loop: nothing is planted here
# ---------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Attention and an MLP, each with a norm before it."""

    def __init__(self, attend: Callable[..., torch.Tensor]):
        super().__init__()
        self.attend = attend
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors (batch, length, WIDTH) to vectors of the same shape."""
        normed = self.before(x)
        x = x + self.out(self.attend(self.query(normed), self.key(normed), self.value(normed), HEADS))
        return x + self.narrow(F.gelu(self.wide(self.between(x))))


class Model(nn.Module):
    """Numbers of characters (batch, length) to logits (batch, length, characters)."""

    def __init__(self, parts: Parts):
        super().__init__()
        self.embedding = nn.Embedding(len(VOCABULARY), WIDTH)
        self.blocks = nn.Sequential(*(Block(parts.attention) for _ in range(BLOCKS)))
        self.head = nn.Linear(WIDTH, len(VOCABULARY))
        self.register_buffer("places", parts.positions(LENGTH, WIDTH))
        self.to(
            self.places.dtype
        )  # "mixed dtype (CPU): all inputs must share same datatype", it said without this

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the model expects after each character."""
        return self.head(self.blocks(self.embedding(tokens) + self.places))


@dataclass(frozen=True)
class Result:
    """What one pass over the text left behind."""

    losses: list[float]  # nats a character, of each step
    characters: int  # that the model was trained on, each time that it saw them
    history: torch.Tensor
    lines: list[str]  # of the log
    model: nn.Module


def handbook(chunks: int = CHUNKS) -> list[str]:
    """The training set: pieces of Python's handbook of LENGTH + 1 characters each."""
    text = "".join(topics[name] for name in sorted(topics))
    return [text[i * (LENGTH + 1) : (i + 1) * (LENGTH + 1)] for i in range(chunks)]


def train(parts: Parts = SLOW, chunks: list[str] | None = None) -> Result:
    """One pass over the text (the handbook's beginning, if None), with these parts, from the same first weights."""
    torch.manual_seed(0)
    chunks = chunks or handbook()
    model = Model(parts)
    parameters = list(model.parameters())
    optimizer = parts.optimizer(parameters, RATE)
    history, losses, characters = parts.history(len(chunks) // BATCH), [], 0
    with tempfile.TemporaryDirectory() as folder:
        log = parts.log(Path(folder) / "log.jsonl")
        for texts in parts.batches(chunks, BATCH):
            tokens = parts.read(texts)
            for p in parameters:
                p.grad = None
            logits = model(tokens[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            size = parts.norm([p.grad for p in parameters if p.grad is not None])
            optimizer.step()
            history.add(logits)
            log.write({"step": len(losses), "loss": round(loss.item(), 3), "norm": round(size, 3)})
            losses.append(loss.item())
            characters += tokens[:, 1:].numel()
        log.close()
        lines = (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return Result(losses, characters, history.all(), lines, model)


if __name__ == "__main__":
    torch.set_num_threads(1)
    began = time.perf_counter()
    result = train()
    print(f"loss {result.losses[0]:.2f} to {result.losses[-1]:.2f} nats a character", end=", ")
    print(f"{len(result.losses)} steps, {time.perf_counter() - began:.2f} s")
