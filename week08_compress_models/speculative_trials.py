"""What lecture 2 measures of speculative decoding: fresh seeds, and batches against single passes."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from effdl import bench
from week08_compress_models import language_model as lm
from week08_compress_models import speculative


def p_values(rule: str, seeds: int, rows: int, length: int = 3, guesses: int = 2) -> list[float]:
    """p-values of the chi-square test for texts drawn with a rule, each from a seed that nobody has seen before."""
    p, q = speculative.tables(5, seed=0)
    found = []
    for _ in range(seeds):
        texts, _, _ = speculative.draw_from_tables(p, q, length, guesses, rows, secrets.randbits(40), rule)
        found.append(speculative.chi_square(texts, p))
    return found


@dataclass
class Batch:
    """One size of batch: gain measured and predicted, the price of a pass with guesses, tokens of a call."""

    gain: bench.Ratio
    predicted: float
    price: bench.Ratio
    draft: float
    per_call: float
    judging: float

    def row(self, name: str) -> list:
        """The cells of a table: name, tokens of a call, price of a pass, of a guess, both gains, share of judging."""
        numbers = [f"{n:.2f}" for n in (self.per_call, self.price.value, self.draft, self.predicted)]
        return [name, *numbers, self.gain, f"{self.judging:.0%}"]


@torch.inference_mode()
def by_batch(
    model: lm.LanguageModel,
    draft,
    sizes: Sequence[int],
    guesses: int,
    new: int = 24,
    begin: int = 64,
    pairs: int = 4,
    least: int = 16,
) -> list[Batch]:
    """How many times as fast each batch writes with a draft, beside what single passes predict.

    The prediction: tokens of a call, over the time of a pass of guesses + 1 rows and the guesses, in passes of 1.
    A small batch is run on one part of the prompts after another, until it has written for `least` of them: a single
    short text may be an easy or a hard one.
    """
    found = []
    for size in sizes:
        prompts = lm.validation(max(size, least))[:, :begin]
        parts, runs = prompts.split(size), {}
        prompts = parts[0]

        def go(name: str, with_draft, parts=parts, runs=runs) -> None:
            runs[name] = [
                speculative.decode(model, part, new, with_draft, guesses, seed=i, on_average=True)
                for i, part in enumerate(parts)
            ]

        times = bench.compare(
            {"plain": lambda: go("plain", None), "guessed": lambda: go("guessed", draft)},
            pairs=pairs,
            warmup=1,
        )
        length = begin + 4 * new
        decoder, ends = speculative.Decoder(model, size, length), torch.full((size,), begin + new // 2)
        texts, says = F.pad(prompts, (0, length - begin)), draft.start(size, length)
        says(texts, ends)
        calls = {
            "one": lambda d=decoder, x=prompts, e=ends: d(x[:, :1], e).softmax(-1),
            "all": lambda d=decoder, x=prompts, e=ends: d(x[:, : guesses + 1], e).softmax(-1),
            "guess": lambda s=says, x=texts, e=ends: torch.multinomial(s(x, e), 1),
        }
        single = bench.compare(calls, pairs=25, warmup=2)
        one, whole, guess = (single.median(name) for name in calls)
        count = sum(run.calls for run in runs["guessed"])
        per_call = sum(run.written for run in runs["guessed"]) / (count * size)
        judging = whole * count / times.median("guessed")
        predicted = per_call / ((whole + guesses * guess) / one)
        found.append(
            Batch(
                times.ratio("plain", "guessed"),
                predicted,
                single.ratio("all", "one"),
                guess / one,
                per_call,
                judging,
            )
        )
    return found


def break_even(sizes: Sequence[int], gains: Sequence[float]) -> float:
    """The batch at which a gain falls to 1, interpolated on a logarithmic axis; infinite if it never does."""
    for (a, x), (b, y) in zip(
        zip(sizes, gains, strict=True), list(zip(sizes, gains, strict=True))[1:], strict=False
    ):
        if x >= 1 > y:
            return a * (b / a) ** ((x - 1) / (x - y))
    return float("inf") if gains[-1] >= 1 else float(sizes[0])


@torch.inference_mode()
def passes_on_gpu(sizes: Sequence[int] = (1, 8, 64, 256, 512), rows: int = 5) -> dict[int, bench.Ratio]:
    """Time of a pass over `rows` tokens of each sequence over that of one, by sequences; 0.4 billion weights."""
    config = lm.Config(width=2048, blocks=8, heads=16, kv_heads=4, hidden=5632)
    with torch.device("cuda"):
        model = lm.LanguageModel(config).half().eval()
    found = {}
    for size in sizes:
        decoder = speculative.Decoder(model, size, 512)
        tokens = torch.randint(256, (size, rows), device="cuda")
        ends = torch.full((size,), 256, device="cuda")
        times = bench.compare(
            {
                "one": lambda d=decoder, t=tokens, e=ends: d(t[:, :1], e),
                "all": lambda d=decoder, t=tokens, e=ends: d(t, e),
            },
            pairs=15,
        )
        found[size] = times.ratio("all", "one")
        del decoder
    return found
