"""One answer per prompt: the same prompts in many orders and batches, and how many different answers come out.

An *order* is a run of a fresh engine with a few of the prompts, which arrive at random times; how many sequences may
run at once, and how many rows a step may have (so where prompts are cut), are random too. For each prompt we keep
every different completion, and every different sequence of logits, bit for bit.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from week07_inference_software.engine import Config, Engine, Invariant, Llama, Request, Scheduler, Usual
from week07_inference_software.engine.engine import StepClock
from week07_inference_software.engine.kernels import bits
from week07_inference_software.engine.model import BLOCK, Cache, Rows, random_weights

SMALL = Config(vocabulary=256, width=64, layers=2, heads=4, groups=2, inner=160)
"""The model of this experiment: so small that a thousand orders take seconds."""

ROWS = (3, 6, 12, 24, 48)
"""Of a step, at most: one of them for each order. So prompts are cut in many ways."""

TIES = Path(__file__).with_name("near_ties.json")


@dataclass
class Answers:
    """What came out for each prompt: different completions, and different logits of a whole completion."""

    completions: list[set[tuple[int, ...]]]
    logits: list[set[bytes]]
    orders: int = 0
    asked: int = 0
    batches: set[tuple[int, ...]] = field(default_factory=set)  # which prompts met, and when

    def different(self) -> int:
        """Different completions of all prompts together."""
        return sum(map(len, self.completions))

    def different_logits(self) -> int:
        """Different logits of all prompts together."""
        return sum(map(len, self.logits))


def orders(count: int, prompts: Sequence[list[int]], each: int, new: int, seed: int = 0) -> Iterator[tuple]:
    """(scheduler, requests, numbers of their prompts) of so many random orders, the same for each caller."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        most = int(random.integers(1, each + 1))
        scheduler = Scheduler(budget=max(most, int(random.choice(ROWS))), most=most)
        who = random.choice(len(prompts), each, replace=False).tolist()
        when = random.integers(0, 2 * each, each).tolist()
        yield scheduler, [Request(prompts[n], new, arrival=t) for n, t in zip(who, when, strict=True)], who


def ask(
    model: Llama,
    kernels: Usual | Invariant,
    prompts: Sequence[list[int]],
    count: int = 1000,
    each: int = 3,
    new: int = 4,
    seed: int = 0,
) -> Answers:
    """Run so many orders with `each` of the prompts, and collect what comes out."""
    found = Answers([set() for _ in prompts], [set() for _ in prompts])
    blocks = 2 + each * -(-(max(map(len, prompts)) + new) // BLOCK)
    for scheduler, requests, who in orders(count, prompts, each, new, seed):
        digests = {request: hashlib.blake2b(digest_size=16) for request in requests}
        engine = Engine(
            model,
            blocks,
            kernels,
            scheduler,
            clock=StepClock(),
            watch=lambda sequence, logits, digests=digests: digests[sequence.request].update(bits(logits)),
        )
        report = engine.run(requests)
        number = dict(zip(requests, who, strict=True))
        for sequence in report.sequences:
            prompt = number[sequence.request]
            found.completions[prompt].add(tuple(sequence.written))
            found.logits[prompt].add(digests[sequence.request].digest())
        found.orders, found.asked = found.orders + 1, found.asked + each
        found.batches.add((*who, *(int(r.arrival) for r in requests), scheduler.budget, scheduler.most))
    return found


def ask_on_rank(prompts: Sequence[list[int]]) -> Answers:
    """A thousand orders of `ask`. Called on two ranks: 0 has the usual kernels, 1 the batch-invariant ones."""
    kernels = (Usual(), Invariant(8))[int(os.environ["RANK"])]
    return ask(Llama(SMALL, random_weights(SMALL)), kernels, prompts)


def roundings(function: Callable[[torch.Tensor], torch.Tensor], row: torch.Tensor, counts: range) -> int:
    """In how many different ways a function of rows rounds one row, when it is given with 0, 1, 2, ... others."""
    random = torch.Generator().manual_seed(0)
    found = set()
    for count in counts:
        x = torch.randn(count, len(row), generator=random).to(row.dtype)
        x[0] = row
        found.add(bits(function(x)[0]))
    return len(found)


@torch.inference_mode()
def gaps(model: Llama, sequences: int, length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens (sequences, length), and at each place the gap between the two largest logits there."""
    tokens = torch.randint(
        1, model.config.vocabulary, (sequences, length), generator=torch.Generator().manual_seed(seed)
    )
    blocks = -(-length // BLOCK)
    tables = 1 + torch.arange(sequences * blocks).view(sequences, blocks)
    cache, kernels, found = Cache(model.config, 1 + sequences * blocks, model.dtype), Usual(), []
    for place in range(length):
        rows = Rows(tokens[:, place], torch.full((sequences,), place), tables, [1] * sequences)
        two = model.logits(model.forward(rows, cache, kernels), kernels).float().topk(2).values
        found.append(two[:, 0] - two[:, 1])
    return tokens, torch.stack(found, 1)


def search(count: int, passes: int, least: int = 4, length: int = 40) -> list[dict]:
    """The `count` prompts of the least gap among all beginnings of random texts, with at least `least` tokens."""
    model = Llama(SMALL, random_weights(SMALL))
    best: list[tuple[float, list[int]]] = []
    for seed in range(passes):
        tokens, found = gaps(model, 512, length, seed)
        found = found.index_fill(1, torch.arange(least - 1), torch.inf)
        for place in found.flatten().argsort()[:count].tolist():
            row, end = divmod(place, length)
            best.append((float(found[row, end]), tokens[row, : end + 1].tolist()))
        best = sorted(best)[:count]
    return [{"gap": gap, "prompt": prompt} for gap, prompt in best]


def prompts(ties: int, others: int) -> tuple[list[list[int]], list[float]]:
    """So many prompts with a near tie (see `search`), then so many random ones; and the gaps of the former."""
    found = json.loads(TIES.read_text())["ties"][:ties]
    random = np.random.default_rng(0)
    rest = [random.integers(1, SMALL.vocabulary, random.integers(4, 24)).tolist() for _ in range(others)]
    return [tie["prompt"] for tie in found] + rest, [tie["gap"] for tie in found]


def recorded() -> tuple[list[str], list[list], str]:
    """Headers, rows and title of a table: what `bench/one_answer.py` found, where it ran last."""
    found = json.loads((TIES.parent / "bench" / "one_answer.json").read_text())
    rows = [
        [name, found[name]["asked"], *(sum(map(len, found[name][key])) for key in ("completions", "logits"))]
        for name in (Usual.name, Invariant.name)
        if name in found
    ]
    title = f"10 random prompts; recorded {found['date']} on {found['machine']}, torch {found['torch']}"
    return ["kernels", "answers", "different completions", "different logits"], rows, title


if __name__ == "__main__":
    torch.set_num_threads(1)
    PASSES = 100
    ties = search(12, PASSES)
    TIES.write_text(json.dumps({"positions": PASSES * 512 * 37, "ties": ties}) + "\n")
