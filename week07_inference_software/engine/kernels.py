"""Two sets of kernels for the same model. They compute the same sums, in different orders.

Floating-point addition is not associative: (a + b) + c and a + (b + c) may differ in the last bit. A library picks
the order by the *shape* of its operands, since another order is faster for another shape. In an engine the shape is
how many requests happen to be there. So the last bits of your answer depend on who else is asking.

`Usual` gives each call all the rows there are. `Invariant` cuts the rows into tiles of one size, fills the last one
up, and walks over the keys block by block: no call has a shape that depends on the batch, so that a row's sums always
have the same order. (He et al., Defeating nondeterminism in LLM inference, Thinking Machines, 2025.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F

from week07_inference_software.engine.model import BLOCK, Config, Rows


@dataclass
class Together:
    """Sequences whose attention is one call: their rows, their blocks, and which keys each row may see."""

    rows: slice
    tables: torch.Tensor  # (sequences, blocks)
    mask: torch.Tensor  # (sequences, 1, query heads of a group x rows of a sequence, keys), bool


class Usual:
    """What most engines do: as few and as large calls as possible."""

    name = "usual"

    def plan(self, rows: Rows, config: Config) -> Iterator[tuple[Rows, list[Together]]]:
        """All rows in one part. Sequences with equally many rows share a call for attention."""
        plans, start = [], 0
        for each, group in groupby(rows.spans):
            sequences = len(list(group))
            here = slice(start, start + sequences * each)
            blocks = int(rows.positions[here].max()) // BLOCK + 1
            tables = rows.tables[here][::each, :blocks]
            seen = torch.arange(blocks * BLOCK) <= rows.positions[here].view(sequences, 1, each, 1)
            plans.append(Together(here, tables, seen.repeat(1, 1, config.heads // config.groups, 1)))
            start = here.stop
        yield rows, plans

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan) -> torch.Tensor:
        """Attention by PyTorch's fused kernel.

        Args:
            query: (rows, heads, size).
            keys, values: one layer of the cache, (groups, blocks, BLOCK, size).
            plan: from :meth:`plan`.

        Returns: (rows, heads * size).
        """
        parts = [self._one(query[one.rows], keys, values, one) for one in plan]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @staticmethod
    def _one(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, one: Together) -> torch.Tensor:
        sequences, size, groups = len(one.tables), query.shape[-1], keys.shape[0]

        def lined_up(pages: torch.Tensor) -> torch.Tensor:
            found = pages.flatten(2).index_select(1, one.tables.flatten())
            return found.view(groups, sequences, -1, size).transpose(0, 1)

        # Query heads that share keys become further rows of one head: (sequences, groups, share x rows, size).
        stacked = query.view(sequences, -1, groups, query.shape[1] // groups, size).permute(0, 2, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            stacked.flatten(2, 3), lined_up(keys), lined_up(values), attn_mask=one.mask
        )
        return mixed.view(stacked.shape).permute(0, 3, 1, 2, 4).reshape(len(query), -1)

    def by_rows(self, function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Apply a function of rows to all rows at once."""
        return function(x)


class Invariant:
    """Every call has the same shape, whatever the batch: `tile` rows, and BLOCK keys.

    What must hold besides is that a row's result does not depend on its place in the tile, nor on the other rows in
    it. No library promises that; :func:`place_matters` tries it.
    """

    name = "batch-invariant"

    def __init__(self, tile: int = 8):
        if tile < 1:
            raise ValueError(f"a tile needs one row at least, not {tile}")
        self.tile = tile

    def plan(
        self, rows: Rows, config: Config
    ) -> Iterator[tuple[Rows, list[tuple[torch.Tensor, torch.Tensor]]]]:
        """Tiles in order, so that a row finds the keys of earlier rows of its prompt in the cache.

        With each tile come its blocks: which one each row reads, and 0 for each key that it may see, -inf for others.
        """
        missing = -len(rows.tokens) % self.tile
        tokens, positions = F.pad(rows.tokens, (0, missing)), F.pad(rows.positions, (0, missing))
        tables = F.pad(rows.tables, (0, 0, 0, missing))
        for start in range(0, len(tokens), self.tile):
            part = slice(start, start + self.tile)
            here, table = positions[part], tables[part]
            blocks = int(here.max()) // BLOCK + 1
            behind = torch.arange(blocks * BLOCK) > here[:, None]
            masks = (
                torch.zeros(behind.shape).masked_fill_(behind, -torch.inf).view(self.tile, blocks, 1, BLOCK)
            )
            masks = masks.repeat(config.groups, 1, 1, 1)
            plan = [(table[:, n].contiguous(), masks[:, n].contiguous()) for n in range(blocks)]
            yield Rows(tokens[part], here, table, []), plan

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan) -> torch.Tensor:
        """Attention by blocks of keys, from the first to the last, in float32; shapes as in :meth:`Usual.attend`.

        A block that a row does not reach gets weights of exactly zero and leaves the row's sums as they were, to the
        bit: a longer neighbour changes nothing. (Milakov and Gimelshein, Online normalizer calculation for softmax,
        2018.)
        """
        tile, heads, size = query.shape
        groups, pairs = keys.shape[0], keys.shape[0] * tile
        query = (
            (query.float() / size**0.5).view(tile, groups, -1, size).transpose(0, 1).reshape(pairs, -1, size)
        )
        top = torch.full((pairs, heads // groups, 1), -torch.inf)
        total, mixed = torch.zeros_like(top), torch.zeros_like(query)
        for blocks, mask in plan:
            near = keys.index_select(1, blocks).float().view(pairs, BLOCK, size)
            scores = torch.bmm(query, near.transpose(1, 2)) + mask
            before, top = top, torch.maximum(top, scores.amax(-1, keepdim=True))
            weights, kept = (scores - top).exp(), (before - top).exp()
            total = total * kept + weights.sum(-1, keepdim=True)
            there = values.index_select(1, blocks).float().view(pairs, BLOCK, size)
            mixed = mixed * kept + torch.bmm(weights, there)
        return (mixed / total).view(groups, tile, -1).transpose(0, 1).reshape(tile, -1).to(keys.dtype)

    def by_rows(self, function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Apply a function of rows tile by tile; the last tile is filled up with zeros."""
        filled = F.pad(x, (0, 0, 0, -len(x) % self.tile))
        return torch.cat([function(part.contiguous()) for part in filled.split(self.tile)])[: len(x)]


def place_matters(function: Callable[[torch.Tensor], torch.Tensor], row: torch.Tensor, tile: int) -> bool:
    """Whether a row's result depends on its place in a tile, or on what else is in it."""
    random = torch.Generator().manual_seed(0)
    found = set()
    for trial in range(4):
        for place in range(tile):
            x = torch.randn(tile, len(row), generator=random).to(row.dtype) * 10.0**trial
            x[place] = row
            found.add(bits(function(x)[place]))
    return len(found) > 1


def bits(x: torch.Tensor) -> bytes:
    """The bytes of a tensor: equal only where two tensors are equal bit for bit."""
    return x.contiguous().view(torch.uint8).numpy().tobytes()
