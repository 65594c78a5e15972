"""The language model that week 8 compresses: small, of today's shape, trained, and the same on every machine.

A decoder-only transformer on bytes: RMSNorm, rotary positions, grouped-query attention, gated MLP, no biases (the
shape of Llama 3, Dubey et al. 2024). It has 0.66 million weights and was trained for 1,500 steps of 2,048 bytes,
drawn from 28 MB of docstrings. The weights of the seeds in `SEEDS` lie in `pretrained/`, with the text that judges
them; `train.py` made both.

    model = load(seed=0)                       # TEACHER's shape, float32, in eval mode; seeds are SEEDS
    bits_per_byte(model, validation())         # the quality of a model: lower is better; about a second
    calibration()                              # text for GPTQ, SmoothQuant, distillation: never judged
    training()                                 # 1.3 MB of bundled text to train a student on, equal everywhere
    draft = load("draft")                      # DRAFT's shape, a ninth of the weights, trained as long

What the pages of the week need of it:

- **Every weight matrix is an `nn.Linear` without bias** (`linears(model)` lists those of the blocks by name), so
  that a method of quantisation, pruning or low rank replaces modules, or writes into `weight`.
- **A student**: `LanguageModel(DRAFT, seed=1)` has the shape of the bundled draft, untrained. The draft was trained
  alone on the whole corpus for as many steps as the teacher: it is what distillation must beat only if it gets as
  long.
- **Speculative decoding**: `model(tokens, cache)` appends to a `Cache`, and `cache.cut(length)` takes rejected tokens
  back. Draft and teacher share the vocabulary: the 256 bytes.
"""

import functools
import json
import lzma
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FOLDER = Path(__file__).parent / "pretrained"
SEEDS = (0, 1, 2)
"""Seeds of the bundled models of TEACHER's shape."""


@dataclass(frozen=True)
class Config:
    """Sizes of a model; a block has width · (2 width + 2 width · kv_heads / heads + 3 hidden) weights, and norms."""

    width: int = 128
    blocks: int = 4
    heads: int = 4
    kv_heads: int = 2  # each serves heads / kv_heads heads of queries
    hidden: int = 256  # width inside the MLP
    vocabulary: int = 256  # tokens are bytes

    @property
    def size(self) -> int:
        """Numbers in one head's vector."""
        return self.width // self.heads


TEACHER = Config()
"""The model that the week compresses: 656,000 weights."""

DRAFT = Config(width=48, blocks=2, heads=2, kv_heads=1, hidden=128)
"""A small model of the same vocabulary, for speculative decoding and as the shape of a student: 75,000 weights."""


class Cache:
    """Keys and values of the tokens so far, (batch, kv_heads, tokens, size) a block, rotated as attention uses them.

    A subclass may keep less than it was given: `append` returns what attention reads.
    """

    def __init__(self):
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return self.kept[0][0].shape[2] if self.kept else 0

    def append(
        self, block: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the new tokens of one block; returns all of its keys and values."""
        if block in self.kept:
            before = self.kept[block]
            keys, values = torch.cat((before[0], keys), 2), torch.cat((before[1], values), 2)
        self.kept[block] = keys, values
        return keys, values

    def cut(self, length: int) -> None:
        """Forget all tokens but the first `length`: what was drafted and rejected."""
        self.kept = {block: (k[:, :, :length], v[:, :, :length]) for block, (k, v) in self.kept.items()}


@functools.cache
def angles(end: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of rotary positions 0 to end - 1, each (end, size / 2) (Su et al., RoFormer, 2021)."""
    rates = 10_000.0 ** (-torch.arange(0, size, 2) / size)
    turned = torch.arange(end)[:, None] * rates
    return turned.cos(), turned.sin()


def rotate(x: torch.Tensor, start: int) -> torch.Tensor:
    """Turn each pair of numbers by an angle that grows with the token's place; x (batch, heads, tokens, size)."""
    end = start + x.shape[2]
    cos, sin = (
        table[start:end].to(x) for table in angles(max(256, 2 ** math.ceil(math.log2(end))), x.shape[3])
    )
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Attention(nn.Module):
    """Causal attention whose heads of queries share heads of keys and values (Ainslie et al., GQA, EMNLP 2023)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        shared = config.kv_heads * config.size
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, shared, bias=False)
        self.value = nn.Linear(config.width, shared, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: torch.Tensor, cache: Cache | None = None, block: int = 0) -> torch.Tensor:
        """(batch, tokens, width) to the same shape; with a cache, x are the tokens after those it holds."""
        batch, new, _ = x.shape
        query, key, value = (
            layer(x).view(batch, new, -1, self.config.size).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        start = len(cache) if cache is not None and block == 0 else 0
        if cache is not None and block in cache.kept:
            start = cache.kept[block][0].shape[2]
        query, key = rotate(query, start), rotate(key, start)
        if cache is not None:
            key, value = cache.append(block, key, value)
        shared = self.config.heads // self.config.kv_heads
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        seen = (
            None
            if start == 0
            else torch.ones(new, start + new, dtype=torch.bool, device=x.device).tril(start)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=start == 0)
        return self.out(mixed.transpose(1, 2).reshape(batch, new, -1))


class MLP(nn.Module):
    """Two linear layers side by side, one gating the other, and one back (Shazeer, GLU variants, 2020)."""

    def __init__(self, config: Config):
        super().__init__()
        self.gate = nn.Linear(config.width, config.hidden, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Attention and MLP, each with a norm before it and a residual connection around both."""

    def __init__(self, config: Config):
        super().__init__()
        self.norm1, self.attention = nn.RMSNorm(config.width, eps=1e-5), Attention(config)
        self.norm2, self.mlp = nn.RMSNorm(config.width, eps=1e-5), MLP(config)

    def forward(self, x: torch.Tensor, cache: Cache | None = None, block: int = 0) -> torch.Tensor:
        """(batch, tokens, width) to the same shape."""
        x = x + self.attention(self.norm1(x), cache, block)
        return x + self.mlp(self.norm2(x))


class LanguageModel(nn.Module):
    """Embedding, blocks, norm, logits. `seed` alone decides the weights; the caller's random state stays."""

    def __init__(self, config: Config = TEACHER, seed: int = 0):
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(config.vocabulary, config.width)
            self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
            self.norm = nn.RMSNorm(config.width, eps=1e-5)
            self.logits = nn.Linear(config.width, config.vocabulary, bias=False)
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    last = name.endswith(("out.weight", "down.weight"))
                    spread = 1 / math.sqrt(parameter.shape[1]) / (math.sqrt(2 * config.blocks) if last else 1)
                    nn.init.normal_(parameter, std=spread)

    def forward(self, tokens: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """Tokens (batch, tokens) int64 to logits (batch, tokens, vocabulary).

        With a cache, the tokens follow those whose keys and values it holds, and theirs are added to it.
        """
        x = self.embedding(tokens)
        for place, block in enumerate(self.blocks):
            x = block(x, cache, place)
        return self.logits(self.norm(x))


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of the blocks by name, without the logits: what weight-only methods compress."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and "blocks" in name}


# Quality ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def bits_per_byte(model: nn.Module, windows: torch.Tensor, batch: int = 32) -> float:
    """Mean bits that the model needs for a byte of text, each window on its own; windows (n, tokens + 1) int64."""
    total = 0.0
    for part in windows.split(batch):
        logits = model(part[:, :-1])
        total += F.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten(), reduction="sum").item()
    return total / windows[:, 1:].numel() / math.log(2)


@functools.cache
def text(part: str) -> bytes:
    """One of the bundled texts: "validation", "calibration" or "training"; docstrings of Python 3.11's library."""
    texts = json.loads(lzma.decompress((FOLDER / "text.json.xz").read_bytes()))
    return texts[part].encode()


def windows(data: bytes, count: int, length: int = 256) -> torch.Tensor:
    """`count` windows of `length` + 1 bytes as int64, evenly spread over the text: (count, length + 1)."""
    codes = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).astype(np.int64))
    starts = torch.linspace(0, len(codes) - length - 1, count).long()
    return codes[starts[:, None] + torch.arange(length + 1)]


def validation(count: int = 128) -> torch.Tensor:
    """The text that judges, never trained on: windows of 256 bytes and the one that follows, (count, 257) int64."""
    return windows(text("validation"), count)


def calibration(count: int = 64) -> torch.Tensor:
    """Text that a method may look at while it compresses, neither trained on nor judged, (count, 257) int64."""
    return windows(text("calibration"), count)


def training() -> torch.Tensor:
    """The bundled text to train on, 1.3 MB of bytes as int64, one long tensor; `batch_of` cuts batches from it."""
    return torch.from_numpy(np.frombuffer(text("training"), dtype=np.uint8).astype(np.int64))


def batch_of(
    codes: torch.Tensor, step: int, batch: int = 32, length: int = 256, seed: int = 0
) -> torch.Tensor:
    """Windows (batch, length + 1) int64 drawn by `seed` and `step`; codes is one long tensor of bytes."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    starts = torch.randint(len(codes) - length, (batch,), generator=generator)
    return codes[starts[:, None] + torch.arange(length + 1)].long()


@torch.no_grad()
def generate(model: LanguageModel, prompt: bytes, count: int, seed: int | None = None) -> bytes:
    """`count` more bytes, with a cache: the likeliest each time, or drawn with a seed."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    cache, new, tokens = Cache(), torch.tensor([list(prompt)]), list(prompt)
    for _ in range(count):
        logits = model(new, cache)[0, -1]
        if generator is None:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial(logits.softmax(-1), 1, generator=generator))
        tokens.append(token)
        new = torch.tensor([[token]])
    return bytes(tokens)


# Files --------------------------------------------------------------------------------------------------------------

_KINDS = {"F16": torch.float16, "F32": torch.float32}


def save_safetensors(tensors: Iterable[tuple[str, torch.Tensor]], path: Path) -> None:
    """Write tensors as float16: eight bytes of length, a JSON header with places, then the bytes of the numbers.

    The format is that of the package `safetensors`, which reads the file too.
    """
    header, data = {}, b""
    for name, tensor in tensors:
        raw = tensor.detach().to(torch.float16).contiguous().numpy().tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, as float32."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        first, last = (8 + length + place for place in entry["data_offsets"])
        numbers = torch.frombuffer(bytearray(raw[first:last]), dtype=_KINDS[entry["dtype"]])
        tensors[name] = numbers.view(entry["shape"]).float()
    return tensors


def load(seed: int | str = 0) -> LanguageModel:
    """The bundled model of one of SEEDS, or "draft": float32 weights that were stored as float16; eval mode.

    Each call gives a new model, which the caller may change.
    """
    path = FOLDER / ("draft.safetensors" if seed == "draft" else f"teacher-{seed}.safetensors")
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not bundled: there are {SEEDS} and 'draft'")
    model = LanguageModel(DRAFT if seed == "draft" else TEACHER)
    model.load_state_dict(load_safetensors(path))
    return model.eval()
