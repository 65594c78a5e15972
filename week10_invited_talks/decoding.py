"""Decoding one token for each row of a batch: its bytes by formula, and a stack of layers written twice.

The layers are those of Llama without positions, with LayerNorm in place of RMSNorm (PyTorch has it as one operation
on a CPU too). Weights are random: neither bytes nor time depend on their values.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. `groups` is the number of key and value heads, which `heads` query heads share."""

    layers: int
    width: int
    heads: int
    groups: int
    inner: int
    vocabulary: int = 0  # no output layer

    @property
    def size(self) -> int:
        """Numbers in a head."""
        return self.width // self.heads

    @property
    def weights(self) -> int:
        """Weights read for a token: all but the table of embeddings, of which it reads one row."""
        attention = self.width * (2 * self.width + 2 * self.groups * self.size)
        layer = attention + 3 * self.width * self.inner + 2 * self.width
        return self.layers * layer + (self.vocabulary + 1) * self.width

    def cache(self, context: int) -> int:
        """Numbers of keys and values that a sequence of so many tokens reads."""
        return 2 * self.layers * self.groups * self.size * context

    def nbytes(self, batch: int, context: int, itemsize: int) -> int:
        """Bytes of a pass: the weights once, a cache for each row."""
        return itemsize * (self.weights + batch * self.cache(context))

    def flops(self, batch: int, context: int) -> int:
        """Operations of a pass: two for each weight and row, and for each number of the cache and query head."""
        shared = self.heads // self.groups
        return 2 * batch * (self.weights + shared * self.cache(context))


LLAMA_1B = Shape(16, 2048, 32, 8, 8192, 128_256)
LLAMA_8B = Shape(32, 4096, 32, 8, 14_336, 128_256)
LLAMA_2_7B = Shape(32, 4096, 32, 32, 11_008, 32_000)


class Stack:
    """A decoder whose caches are full: each pass writes the last place of every cache, and reads all of it."""

    def __init__(self, shape: Shape, batch: int = 1, context: int = 16, *, device="cpu", dtype=torch.float32):
        generator = torch.Generator(device).manual_seed(0)
        self.shape = s = shape

        def random(*sizes):
            made = torch.empty(sizes, device=device, dtype=dtype)
            return made.normal_(0, 1 / math.sqrt(sizes[-1]), generator=generator)

        self.ones = torch.ones(s.width, device=device, dtype=dtype)
        self.weights = [
            (
                random(s.width + 2 * s.groups * s.size, s.width),  # query, key, value
                random(s.width, s.width),
                random(2 * s.inner, s.width),  # gate, up
                random(s.width, s.inner),
                self.ones.clone(),
                self.ones.clone(),
            )
            for _ in range(s.layers)
        ]
        self.caches = [random(2, batch, s.groups, context, s.size) for _ in range(s.layers)]
        self.head = random(s.vocabulary, s.width) if s.vocabulary else None
        self.parts = [s.width, s.groups * s.size, s.groups * s.size]

    def for_rows(self, batch: int, context: int) -> "Stack":
        """A stack of the very same weights, with caches for another batch."""
        other, sizes = copy.copy(self), (2, batch, self.shape.groups, context, self.shape.size)
        other.caches = [torch.randn(sizes).to(self.ones) for _ in self.caches]
        return other

    def end(self, x: torch.Tensor) -> torch.Tensor:
        """The last norm, and the output layer where the shape has one."""
        x = F.layer_norm(x, x.shape[-1:], self.ones, None, EPSILON)
        return x if self.head is None else F.linear(x, self.head)

    def written_out(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width) to (batch, width or vocabulary), one operation after the other, as a textbook has it."""
        for (qkv, out, both, down, first, second), cache in zip(self.weights, self.caches, strict=True):
            h = _norm(x, first)
            q, k, v = (F.linear(h, part) for part in qkv.split(self.parts))
            keys, values = self._store(cache, k, v)
            scores = self._heads(q) @ keys.transpose(-2, -1) / math.sqrt(self.shape.size)
            x = x + F.linear((scores.softmax(-1) @ values).reshape(x.shape), out)
            h = _norm(x, second)
            gate, up = (F.linear(h, part) for part in both.chunk(2))
            x = x + F.linear(gate * torch.sigmoid(gate) * up, down)
        return self.end(x)

    def fused(self, x: torch.Tensor) -> torch.Tensor:
        """The same with fewer operations: one product for q, k, v, one for gate and up, sums inside products."""
        x = x.clone()
        for (qkv, out, both, down, first, second), cache in zip(self.weights, self.caches, strict=True):
            h = F.layer_norm(x, x.shape[-1:], first, None, EPSILON)
            q, k, v = F.linear(h, qkv).split(self.parts, -1)
            keys, values = self._store(cache, k, v)
            mixed = F.scaled_dot_product_attention(self._heads(q), keys, values)
            x.addmm_(mixed.reshape(x.shape), out.T)
            h = F.layer_norm(x, x.shape[-1:], second, None, EPSILON)
            gate, up = F.linear(h, both).chunk(2, -1)
            x.addmm_(F.silu(gate, inplace=True).mul_(up), down.T)
        return self.end(x)

    def _heads(self, q):
        # Query heads that share keys stand where other models have several tokens: nothing is copied.
        return q.view(len(q), self.shape.groups, -1, self.shape.size)

    def _store(self, cache, k, v):
        keys, values = cache
        keys[:, :, -1] = k.view(len(k), -1, self.shape.size)
        values[:, :, -1] = v.view(len(v), -1, self.shape.size)
        return keys, values


def _norm(x, weight):
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + EPSILON) * weight


PRODUCTS = ("mm", "addmm_", "bmm", "addmm", "linear")
"""Operations that read weights or caches; all with `attention` in the name too."""


class Counter(TorchDispatchMode):
    """Counts the operations that reach PyTorch's kernels, and the bytes of all that they read and write.

    A view is no operation: it touches no number.
    """

    def __init__(self):
        super().__init__()
        self.names: list[str] = []
        self.nbytes = self.element_wise = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        aliases = [each.alias_info for each in func._schema.returns]
        if name == "_unsafe_view" or any(alias and not alias.is_write for alias in aliases):
            return out
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        moved = sum(each.numel() * each.element_size() for each in tensors)
        self.names.append(name)
        self.nbytes += moved
        if name not in PRODUCTS and "attention" not in name:
            self.element_wise += moved
        return out


def counted(fn: Callable, *arguments) -> Counter:
    """What a call does."""
    with torch.no_grad(), Counter() as counter:
        fn(*arguments)
    return counter
