"""Loads for an engine, and runs that change one thing at a time."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from effdl import bench
from effdl.bench import Comparison
from week07_inference_software.engine import Engine, Llama, Report, Request, Scheduler
from week07_inference_software.engine.engine import StepClock


def prompts(count: int, lengths: tuple[int, int], vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Random tokens; lengths are uniform between the two. Token 0 is left out: peers pad with it."""
    random = np.random.default_rng(seed)
    sizes = random.integers(lengths[0], lengths[1] + 1, count)
    return [random.integers(1, vocabulary, size).tolist() for size in sizes]


def mixed(count: int, mean: float, longest: int, vocabulary: int, seed: int = 0) -> list[Request]:
    """Requests whose answers have exponentially distributed lengths: many short ones, a few long ones."""
    lengths = np.random.default_rng(seed + 1).exponential(mean, count)
    return [
        Request(prompt, int(np.clip(round(length), 1, longest)))
        for prompt, length in zip(prompts(count, (8, 24), vocabulary, seed), lengths, strict=True)
    ]


def equal(count: int, new: int, vocabulary: int, seed: int = 0) -> list[Request]:
    """Requests whose answers all have one length."""
    return [Request(prompt, new) for prompt in prompts(count, (16, 16), vocabulary, seed)]


def harmonic(count: int) -> float:
    """1 + 1/2 + ... + 1/count: the mean of the longest of so many exponential lengths, over the mean length."""
    return sum(1 / n for n in range(1, count + 1))


def compared(
    ways: Mapping[str, Callable[[], Report]], pairs: int = 3
) -> tuple[Comparison, dict[str, Report]]:
    """Interleaved times of some runs, and the last report of each."""
    reports: dict[str, Report] = {}

    def run(name: str) -> None:
        reports[name] = ways[name]()

    times = bench.compare({name: (lambda name=name: run(name)) for name in ways}, pairs, warmup=1)
    return times, reports


def engine_run(model: Llama, requests: Sequence[Request], **options) -> Callable[[], Report]:
    """A run of a fresh engine; `options` are the engine's and the scheduler's (budget, most, order, admit, decode_first)."""
    names = {"budget", "most", "order", "admit", "decode_first"}
    schedule = {name: options.pop(name) for name in names & set(options)}
    return lambda: Engine(model, scheduler=Scheduler(**schedule), **options).run(requests)


def poisson(requests: Sequence[Request], rate: float, seed: int = 0) -> list[Request]:
    """The same requests, arriving at random: `rate` of them in a unit of time (a Poisson process)."""
    times = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, len(requests)))
    return [Request(r.prompt, r.new, r.sampling, float(t)) for r, t in zip(requests, times, strict=True)]


def longest_gaps(report: Report) -> np.ndarray:
    """The longest time between two tokens, of each sequence that wrote two at least."""
    return np.array([gaps.max() for gaps in report.gaps() if len(gaps)])


def waste(report: Report, requests: Sequence[Request], longest: int, block: int) -> dict[str, float]:
    """Share of the cache's tokens that hold nothing, when each sequence has its final length.

    Reserving `longest` tokens for each sequence is what engines did before paging.
    """
    stored = np.array([len(s.tokens) - 1 for s in report.sequences])
    paged = -(-stored // block) * block
    return {"reserved": 1 - stored.sum() / (longest * len(stored)), "paged": 1 - stored.sum() / paged.sum()}


def virtual(step: float, row: float) -> StepClock:
    """A clock for runs whose times are to be exact."""
    return StepClock(step, row)


def padded(requests: Sequence[Request], most: int) -> list[Request]:
    """The same requests in static batches as `generate` runs them: all write until the longest of their batch is done.

    The tokens behind a request's own end are thrown away. Requests that stand together are a batch.
    """
    longest = [max(r.new for r in requests[n - n % most : n - n % most + most]) for n in range(len(requests))]
    return [Request(r.prompt, new, r.sampling, r.arrival) for r, new in zip(requests, longest, strict=True)]
