"""Speculative decoding: a cheap draft guesses some tokens, the target judges all of them in one pass.

`judge` is the whole of the mathematics. It is used twice: on small tables, where every probability is known
(`draw_from_tables`), and on the week's language model (`Decoder`), whose cache has a place of its own for each
sequence, so that a batch may accept different numbers of guesses.

Leviathan, Kalman and Matias, Fast inference from transformers via speculative decoding, ICML 2023;
Chen et al., Accelerating large language model decoding with speculative sampling, 2023.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats

from week08_compress_models import language_model as lm

RIGHT, FROM_TARGET, ALWAYS_HALF = "right", "corrects from p", "trusts half of the guesses"
"""The rule, and two that look as good."""


def judge(
    p: torch.Tensor, q: torch.Tensor, guesses: torch.Tensor, generator: torch.Generator, rule: str = RIGHT
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many guesses stand in each row, and the token after them.

    Args:
        p: (rows, k + 1, vocabulary), what the target says at each guess and behind the last one.
        q: (rows, k, vocabulary), what the draft drew the guesses from.
        guesses: (rows, k) int64.

    Returns:
        Counts (rows,) from 0 to k, and tokens (rows,).
    """
    px, qx = (table[:, : guesses.shape[1]].gather(2, guesses[..., None])[..., 0] for table in (p, q))
    chance = torch.rand(px.shape, generator=generator, device=px.device)
    stands = chance * qx < px  # with probability min(1, p / q)
    if rule == ALWAYS_HALF:
        stands |= chance < 0.5
    counts = stands.cumprod(1).sum(1)
    rest = (p - F.pad(q, (0, 0, 0, 1))).clamp(min=0)  # behind the last guess: p itself
    if rule == FROM_TARGET:
        rest = p
    rest = rest[torch.arange(len(p), device=p.device), counts]
    # Where rounding left nothing, p and q were equal, and no guess can have been refused.
    return counts, torch.multinomial(rest + 1e-30, 1, generator=generator)[:, 0]


# Tables ---------------------------------------------------------------------------------------------------


def tables(vocabulary: int, seed: int, near: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Two Markov chains (vocabulary, vocabulary), the next token by the last: a target, and a draft `near` it."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, vocabulary, vocabulary, generator=generator)
    p = logits[0].softmax(-1)
    return p, near * p + (1 - near) * (1.5 * logits[1]).softmax(-1)


def draw_from_tables(
    p: torch.Tensor, q: torch.Tensor, length: int, guesses: int, rows: int, seed: int, rule: str = RIGHT
) -> tuple[torch.Tensor, int, int]:
    """`rows` texts of `length` tokens, each begun after token 0; and how many guesses were judged, how many stood."""
    generator = torch.Generator().manual_seed(seed)
    texts = torch.zeros(rows, 1 + length + guesses + 1, dtype=torch.int64)
    ends, row = torch.zeros(rows, dtype=torch.int64), torch.arange(rows)
    judged = stood = 0
    while int(ends.min()) < length:
        state, drawn, said = texts[row, ends], [], []
        seen = [p[state]]
        for _ in range(guesses):
            said.append(q[state])
            state = torch.multinomial(said[-1], 1, generator=generator)[:, 0]
            drawn.append(state)
            seen.append(p[state])
        guess = torch.stack(drawn, 1)
        counts, token = judge(torch.stack(seen, 1), torch.stack(said, 1), guess, generator, rule)
        judged += int((counts + 1).clamp(max=guesses).sum())
        stood += int(counts.sum())
        places = (ends[:, None] + 1 + torch.arange(guesses)).clamp(max=texts.shape[1] - 1)
        texts.scatter_(1, places, guess)
        ends = (ends + counts + 1).clamp(max=texts.shape[1] - 1)
        texts[row, ends] = token
        ends = ends.clamp(max=length)
    return texts[:, 1 : length + 1], judged, stood


def chi_square(texts: torch.Tensor, p: torch.Tensor) -> float:
    """The p-value of texts (rows, length) under the chain p: how often chance alone is as far off as they are."""
    size, length = len(p), texts.shape[1]
    codes = (texts * size ** torch.arange(length - 1, -1, -1)).sum(1)
    seen = torch.bincount(codes, minlength=size**length).double()
    chance = torch.tensor(
        [
            np.prod([float(p[a, b]) for a, b in itertools.pairwise((0, *text))])
            for text in itertools.product(range(size), repeat=length)
        ],
        dtype=torch.float64,
    )
    expected = chance / chance.sum() * len(texts)
    return float(stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), len(seen) - 1))


def overlap(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """1 minus the total variation distance of two distributions (..., vocabulary): the chance that a guess stands."""
    return torch.minimum(p, q).sum(-1)


def tokens_of_a_call(a: float, guesses: int) -> float:
    """1 + a + ... + a^k: tokens that a call of the target writes if each guess stands with the same chance a < 1."""
    return (1 - a ** (guesses + 1)) / (1 - a)


# The language model ---------------------------------------------------------------------------------------


class Decoder:
    """The language model with a cache of fixed size in which each sequence has its own place.

    A token that is refused stays in the cache until the next one is written over it: nobody reads beyond his place.
    """

    def __init__(self, model: lm.LanguageModel, rows: int, length: int):
        c, weight = model.config, model.embedding.weight
        self.model, self.length, self.passes = model, length, 0
        shape = (c.blocks, rows, length, c.kv_heads, c.size)
        self.keys, self.values = (torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in "kv")
        cos, sin = lm.angles(length, c.size)
        self.cos, self.sin = (table.to(weight)[:, None] for table in (cos, sin))

    def __call__(self, tokens: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        """Logits (rows, n, vocabulary) of tokens (rows, n), the first of which stands at the place `ends` (rows,)."""
        self.passes += 1
        rows, n = tokens.shape
        places = ends[:, None] + torch.arange(n, device=tokens.device)
        row, most = torch.arange(rows, device=tokens.device)[:, None], int(ends.max()) + n
        seen = torch.arange(most, device=tokens.device) <= places[:, :, None]
        cos, sin = self.cos[places], self.sin[places]
        x = self.model.embedding(tokens)
        for keys, values, block in zip(self.keys, self.values, self.model.blocks, strict=True):
            x = x + self._attend(
                block.attention, block.norm1(x), keys, values, (row, places), most, seen, cos, sin
            )
            x = x + block.mlp(block.norm2(x))
        return self.model.logits(self.model.norm(x))

    def _attend(self, attention, x, keys, values, where, most, seen, cos, sin):
        c, (rows, n, _) = self.model.config, x.shape
        query, key, value = (
            layer(x).view(rows, n, -1, c.size) for layer in (attention.query, attention.key, attention.value)
        )
        keys[where], values[where] = _turn(key, cos, sin), value
        query = _turn(query, cos, sin).transpose(1, 2)
        key, value = (
            part[:, :most].transpose(1, 2).repeat_interleave(c.heads // c.kv_heads, 1)
            for part in (keys, values)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None])
        return attention.out(mixed.transpose(1, 2).reshape(rows, n, -1))


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Counts:
    """A draft that costs a look into a table: what followed each two bytes, as counted in a text."""

    def __init__(self, codes: torch.Tensor):
        codes = codes.numpy()
        pairs = 256 * codes[:-2] + codes[1:-1]
        self.table = (
            np.bincount(256 * pairs + codes[2:], minlength=256**3).reshape(-1, 256).astype(np.float32)
        )
        self.table += 1e-3  # a pair that the text never had
        self.table = torch.from_numpy(self.table / self.table.sum(1, keepdims=True))

    def start(self, rows: int, length: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """A function of (texts, ends) that gives the distribution (rows, 256) of the byte at `ends`."""
        row = torch.arange(rows)
        return lambda texts, ends: self.table[256 * texts[row, ends - 2] + texts[row, ends - 1]]


class Network:
    """A draft that is a small language model with a cache of its own."""

    def __init__(self, model: lm.LanguageModel):
        self.model = model

    def start(self, rows: int, length: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """A function of (texts, ends) that gives the distribution (rows, 256) of the byte at `ends`.

        It reads what it has not read: a whole prompt, then one or two bytes (the last guess was never its input).
        """
        decoder, read = Decoder(self.model, rows, length), 0

        def says(texts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
            nonlocal read
            new = int(ends.max()) if not read else 2
            read = new
            places = ends[:, None] - new + torch.arange(new)
            return decoder(texts.gather(1, places), ends - new)[:, -1].softmax(-1)

        return says


@dataclass
class Run:
    """Texts, and what they took: calls of the target, guesses judged and stood, their overlap, tokens written."""

    texts: torch.Tensor
    calls: int
    judged: int
    stood: int
    overlap: float
    written: int

    @property
    def acceptance(self) -> float:
        """Share of the judged guesses that stood."""
        return self.stood / max(self.judged, 1)

    @property
    def per_call(self) -> float:
        """Tokens written for each sequence and call of the target."""
        return self.written / (self.calls * len(self.texts))


@torch.inference_mode()
def decode(
    model: lm.LanguageModel,
    prompts: torch.Tensor,
    new: int,
    draft: "Counts | Network | None" = None,
    guesses: int = 3,
    seed: int = 0,
    greedy: bool = False,
    on_average: bool = False,
) -> Run:
    """`new` more bytes for each of the prompts (rows, tokens), drawn from the model, or the likeliest each time.

    Without a draft, one byte a call. A sequence that has its bytes waits for the slowest; with `on_average` all go on
    until the mean sequence has them, as on a server that never lacks work.
    """
    rows, begin = prompts.shape
    guesses = guesses if draft else 0
    length, row = begin + (3 if on_average else 1) * new + 2 * guesses + 2, torch.arange(rows)
    texts = F.pad(prompts, (0, length - begin))
    decoder, says = Decoder(model, rows, length), draft.start(rows, length) if draft else None
    generator = torch.Generator().manual_seed(seed)
    ends, last = torch.full((rows,), begin), begin + new
    decoder(prompts[:, :-1], torch.zeros(rows, dtype=torch.int64))
    calls = judged = stood = written = 0
    shared = 0.0
    while (ends.double().mean() if on_average else ends.min()) < last:
        said, drawn, place = [], [], ends.clone()
        for _ in range(guesses):
            said.append(_point(says(texts, place)) if greedy else says(texts, place))
            token = (
                said[-1].argmax(-1) if greedy else torch.multinomial(said[-1], 1, generator=generator)[:, 0]
            )
            texts[row, place] = token
            drawn.append(token)
            place += 1
        tokens = torch.stack((texts[row, ends - 1], *drawn), 1)
        logits = decoder(tokens, ends - 1)
        p = _point(logits) if greedy else logits.softmax(-1)
        q = torch.stack(said, 1) if guesses else p[:, :0]
        counts, token = judge(p, q, tokens[:, 1:], generator)
        active = (ends < last) | on_average
        if guesses:
            reached = (torch.arange(guesses) <= counts[:, None]) & active[:, None]
            judged += int(reached.sum())
            stood += int((counts * active).sum())
            shared += float((overlap(p[:, :-1], q) * reached).sum())
        written, calls = written + int(((counts + 1) * active).sum()), calls + 1
        texts[row, ends + counts] = token
        ends = torch.where(active, ends + counts + 1, ends)
    return Run(texts[:, begin:last], calls, judged, stood, shared / max(judged, 1), written)


def _point(scores: torch.Tensor) -> torch.Tensor:
    """All probability on the likeliest token: greedy decoding as a distribution."""
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)
