"""Keys and values in few bits: per token, or keys per channel as KIVI does.

Attention reads a whole cache for every new token, so that bytes of the cache are time. Liu et al., KIVI: a
tuning-free asymmetric 2bit quantization for KV cache, ICML 2024.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from week08_compress_models.grids import Grid, round_trip
from week08_compress_models.language_model import Cache, LanguageModel

GROUP = 32
"""Numbers that share a scale: of one token's vector, or of one channel in as many tokens."""


class QuantisedCache(Cache):
    """A cache whose keys and values attention reads as `bits`-bit numbers.

    Per token, `GROUP` neighbours in a vector share a scale, and each token can be rounded when it comes. Per channel,
    the same place in `GROUP` tokens shares one: tokens that do not fill a group yet stay as they are.
    """

    def __init__(self, bits: int, keys: str = "token", values: str = "token"):
        super().__init__()
        if {keys, values} - {"token", "channel"}:
            raise ValueError(f"a cache is rounded per token or per channel, not {keys!r} and {values!r}")
        self.grid = Grid(bits, GROUP, symmetric=False)
        self.ways = keys, values

    def append(self, block, keys, values):
        """Add the new tokens; returns all keys and values, rounded."""
        kept = super().append(block, keys, values)
        return tuple(self._rounded(x, way) for x, way in zip(kept, self.ways, strict=True))

    def _rounded(self, x: torch.Tensor, way: str) -> torch.Tensor:
        if way == "token":
            return round_trip(x, self.grid)
        full = x.shape[2] // GROUP * GROUP
        columns = x[:, :, :full].transpose(2, 3)  # neighbours in a row are now tokens
        return torch.cat((round_trip(columns, self.grid).transpose(2, 3), x[:, :, full:]), 2)


@torch.no_grad()
def bits_per_byte(model: LanguageModel, windows: torch.Tensor, make: Callable[[], Cache]) -> float:
    """As `language_model.bits_per_byte`, with every window read through the cache that `make()` gives."""
    logits = model(windows[:, :-1], make())
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item() / math.log(2)


@torch.no_grad()
def spread(model: LanguageModel, tokens: torch.Tensor) -> dict[str, float]:
    """How much larger the largest channel is than the median one, such as {"keys": 4.1, "values": 2.0}.

    A channel's size is its largest magnitude over tokens; the median over blocks and heads of largest over median.
    """
    cache = Cache()
    model(tokens, cache)
    found = {}
    for i, name in enumerate(("keys", "values")):
        sizes = torch.stack(
            [kept[i].abs().amax((0, 2)) for kept in cache.kept.values()]
        )  # blocks, heads, size
        found[name] = float((sizes.amax(-1) / sizes.median(-1).values).median())
    return found


# Llama 3 8B, from its configuration (Dubey et al., The Llama 3 herd of models, 2024).
WEIGHTS_8B = 32 * (4096 * (4096 + 1024 + 1024) + 4096 * 4096 + 3 * 4096 * 14336) + 4096 * 128_256
CACHE_8B = 2 * 32 * 8 * 128  # numbers in the cache for each token


def bytes_per_token(weight_bits: float, cache_bits: float, context: int, batch: int) -> tuple[float, float]:
    """Bytes of weights and of cache that a step of Llama 3 8B reads for each token that it writes.

    Weights are read once for the whole batch; each sequence reads a cache of its own.
    """
    return WEIGHTS_8B * weight_bits / 8 / batch, CACHE_8B * context * cache_bits / 8
