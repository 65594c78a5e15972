"""A Llama in plain functions: weights, one forward pass over rows, and the cache that it reads and writes.

A *row* is one token at one position of one sequence. A forward pass takes rows of any sequences: 200 of a prompt that
is being read (prefill), one of each of 30 sequences that are being written (decode), or both. No layer but attention
lets rows see each other, and attention finds the others in the cache, through the row's *block table*.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

BLOCK = 16
"""Tokens in a block of the cache."""


@dataclass(frozen=True)
class Config:
    """Sizes of a Llama, and how its random weights are drawn."""

    vocabulary: int = 512
    width: int = 128
    layers: int = 4
    heads: int = 4
    groups: int = 2  # heads of keys and values: `heads` / `groups` query heads share one
    inner: int = 352  # width of the MLP
    theta: float = 10_000.0  # base of the rotary angles
    gain: float = 1.5  # random matrices have a standard deviation of gain / sqrt(width that they read)

    def __post_init__(self):
        if self.width % self.heads or self.heads % self.groups:
            raise ValueError(
                f"heads={self.heads} must divide width={self.width}, and groups={self.groups} heads"
            )

    @property
    def size(self) -> int:
        """Width of one head."""
        return self.width // self.heads


def random_weights(config: Config, seed: int = 0) -> dict[str, torch.Tensor]:
    """Float32 weights under the names that `transformers` gives them, so that both engines load the same ones."""
    random = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=random) * config.gain / math.sqrt(columns)

    c = config
    shapes = {
        "self_attn.q_proj": (c.width, c.width),
        "self_attn.k_proj": (c.groups * c.size, c.width),
        "self_attn.v_proj": (c.groups * c.size, c.width),
        "self_attn.o_proj": (c.width, c.width),
        "mlp.gate_proj": (c.inner, c.width),
        "mlp.up_proj": (c.inner, c.width),
        "mlp.down_proj": (c.width, c.inner),
    }
    weights = {
        "model.embed_tokens.weight": torch.randn(c.vocabulary, c.width, generator=random),
        "model.norm.weight": torch.ones(c.width),
        "lm_head.weight": matrix(c.vocabulary, c.width),
    }
    for layer in range(c.layers):
        for name, shape in shapes.items():
            weights[f"model.layers.{layer}.{name}.weight"] = matrix(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = torch.ones(c.width)
    return weights


@dataclass
class Rows:
    """The rows of one forward pass, all int64. Rows of one sequence stand together and in order.

    `spans` holds the number of rows of each sequence; equal numbers stand together, so that they can share a call.
    """

    tokens: torch.Tensor  # (rows,)
    positions: torch.Tensor  # (rows,)
    tables: (
        torch.Tensor
    )  # (rows, most blocks of any sequence); what a row does not have is the scratch block 0
    spans: list[int]

    @staticmethod
    def of(parts: Iterable[tuple[Sequence[int], int, Sequence[int]]]) -> "Rows":
        """From (tokens, position of the first, block table) of each sequence."""
        parts = list(parts)
        width = max(len(table) for _, _, table in parts)
        tables = torch.tensor([[*table, *[0] * (width - len(table))] for _, _, table in parts])
        spans = [len(tokens) for tokens, _, _ in parts]
        return Rows(
            torch.tensor([token for tokens, _, _ in parts for token in tokens]),
            torch.tensor([first + i for tokens, first, _ in parts for i in range(len(tokens))]),
            tables if len(tables) == sum(spans) else tables.repeat_interleave(torch.tensor(spans), 0),
            spans,
        )


class Cache:
    """Keys and values of every layer in blocks: (layers, groups, blocks, BLOCK, size of a head), zero at first.

    Block 0 is scratch: rows that only fill up a shape write there.
    """

    def __init__(self, config: Config, blocks: int, dtype: torch.dtype = torch.float32):
        shape = (config.layers, config.groups, blocks, BLOCK, config.size)
        self.keys, self.values = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)

    def copy(self, source: int, target: int) -> None:
        """Copy a block, all layers: what copy-on-write does before the write."""
        self.keys[:, :, target] = self.keys[:, :, source]
        self.values[:, :, target] = self.values[:, :, source]


class Llama:
    """The model of Touvron et al. 2023: RMS norm, rotary positions, grouped queries, SwiGLU. No gradients.

    Args:
        config, weights: see `random_weights`.
        dtype: of weights, activations and cache.
        sums: of the sums inside a matrix product; None leaves them to the library. bfloat16 with float32 sums is
            what a GPU's tensor cores do: 16-bit values go in and come out, and are added in 32 bits.
    """

    def __init__(
        self,
        config: Config,
        weights: dict[str, torch.Tensor],
        dtype: torch.dtype = torch.float32,
        sums: torch.dtype | None = None,
    ):
        self.config, self.dtype, self.sums = config, dtype, sums
        self.embedding = weights["model.embed_tokens.weight"].to(dtype)
        self.norm, self.head = weights["model.norm.weight"].to(dtype), weights["lm_head.weight"].to(dtype)
        self.layers = []
        for layer in range(config.layers):
            part = {
                name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): weight.to(dtype)
                for name, weight in weights.items()
                if name.startswith(f"model.layers.{layer}.")
            }
            # Three products in one, and two in one: fewer calls, larger matrices.
            qkv = torch.cat([part[f"self_attn.{name}_proj"] for name in "qkv"])
            gate_up = torch.cat([part["mlp.gate_proj"], part["mlp.up_proj"]])
            norms = part["input_layernorm"], part["post_attention_layernorm"]
            products = qkv, part["self_attn.o_proj"], gate_up, part["mlp.down_proj"]
            self.layers.append((*norms, *(matrix.to(sums or dtype) for matrix in products)))
        self.head = self.head.to(sums or dtype)
        powers = torch.arange(0, config.size, 2) / config.size
        self.frequencies = config.theta**-powers

    @torch.inference_mode()
    def forward(self, rows: Rows, cache: Cache, kernels) -> torch.Tensor:
        """Write each row's keys and values into the cache and return its last hidden state, (rows, width)."""
        parts = [self._part(part, plan, cache, kernels) for part, plan in kernels.plan(rows, self.config)]
        return torch.cat(parts)[: len(rows.tokens)] if len(parts) > 1 else parts[0][: len(rows.tokens)]

    def _part(self, rows: Rows, plan, cache: Cache, kernels) -> torch.Tensor:
        c, count = self.config, len(rows.tokens)
        angles = (rows.positions[:, None] * self.frequencies).repeat(1, 2)[:, None]
        cos, sin = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        places = rows.tables.gather(1, rows.positions[:, None] // BLOCK)[:, 0], rows.positions % BLOCK
        x = self.embedding[rows.tokens]
        for layer, (norm1, norm2, qkv, out, gate_up, down) in enumerate(self.layers):
            found = self._product(F.rms_norm(x, (c.width,), norm1, 1e-6), qkv).view(count, -1, c.size)
            turned = rotate(found[:, : c.heads + c.groups], cos, sin)
            keys, values = cache.keys[layer], cache.values[layer]
            keys[:, *places] = turned[:, c.heads :].transpose(0, 1)
            values[:, *places] = found[:, c.heads + c.groups :].transpose(0, 1)
            mixed = kernels.attend(turned[:, : c.heads], keys, values, plan)
            x = x + self._product(mixed, out)
            gate, up = self._product(F.rms_norm(x, (c.width,), norm2, 1e-6), gate_up).chunk(2, -1)
            x = x + self._product(F.silu(gate) * up, down)
        return x

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor, kernels) -> torch.Tensor:
        """Hidden states (rows, width) to logits (rows, vocabulary)."""

        def function(x: torch.Tensor) -> torch.Tensor:
            return self._product(F.rms_norm(x, (self.config.width,), self.norm, 1e-6), self.head)

        return kernels.by_rows(function, hidden)

    def _product(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        return F.linear(x, matrix) if self.sums is None else F.linear(x.to(self.sums), matrix).to(self.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al. 2021): x (rows, heads, size) turned by angles (rows, 1, size)."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
