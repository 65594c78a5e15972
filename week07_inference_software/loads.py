"""Loads for an engine, and runs that change one thing at a time."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from effdl import bench
from effdl.bench import Comparison
from week07_inference_software.engine import Engine, Llama, Report, Request, Sampling, Scheduler, Usual
from week07_inference_software.engine.drafts import Draft
from week07_inference_software.engine.engine import StepClock
from week07_inference_software.engine.model import BLOCK, Cache, Rows


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
    ways: Mapping[str, Callable[[], Report]], pairs: int = 3, warmup: int = 0
) -> tuple[Comparison, dict[str, Report]]:
    """Interleaved times of some runs, and the last report of each."""
    reports: dict[str, Report] = {}

    def run(name: str) -> None:
        reports[name] = ways[name]()

    times = bench.compare({name: (lambda name=name: run(name)) for name in ways}, pairs, warmup)
    return times, reports


def engine_run(model: Llama, requests: Sequence[Request], **options) -> Callable[[], Report]:
    """A run of a fresh engine; `options` are those of the engine and of the scheduler."""
    names = {"budget", "most", "order", "admit", "decode_first"}
    schedule = {name: options.pop(name) for name in names & set(options)}
    return lambda: Engine(model, scheduler=Scheduler(**schedule), **options).run(requests)


def poisson(requests: Sequence[Request], rate: float, seed: int = 0) -> list[Request]:
    """The same requests, arriving at random: `rate` of them in a unit of time (a Poisson process)."""
    times = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, len(requests)))
    return [Request(r.prompt, r.new, r.sampling, float(t)) for r, t in zip(requests, times, strict=True)]


def waste(report: Report, longest: int, block: int) -> tuple[float, float]:
    """Share of the cache that holds nothing when each sequence has its final length.

    First if `longest` tokens are reserved for each, as engines did before paging; then with blocks of this size.
    """
    stored = np.array([len(s.tokens) - 1 for s in report.sequences])
    paged = -(-stored // block) * block
    return 1 - stored.sum() / (longest * len(stored)), 1 - stored.sum() / paged.sum()


def padded(requests: Sequence[Request], most: int) -> list[Request]:
    """The same requests in static batches as `generate` runs them: all write until their batch's longest is done.

    The tokens behind a request's own end are thrown away. Requests that stand together are a batch.
    """
    longest = [max(r.new for r in requests[n - n % most : n - n % most + most]) for n in range(len(requests))]
    return [Request(r.prompt, new, r.sampling, r.arrival) for r, new in zip(requests, longest, strict=True)]


def rehearsed(completions: Sequence[Sequence[int]], right: float, vocabulary: int, seed: int = 0) -> Draft:
    """A stand-in for a draft model: it knows the answers, and spoils each token with probability 1 - `right`.

    With it one can set how good the guesses are, and see what that is worth; guessing itself costs next to nothing.
    `completions` are prompts with their answers.
    """
    random = np.random.default_rng(seed)

    def guess(tokens: Sequence[int], count: int) -> list[int]:
        known = next((c for c in completions if list(c[: len(tokens)]) == list(tokens)), ())
        answer = known[len(tokens) : len(tokens) + count]
        return [t if random.random() < right else (t + 1) % vocabulary for t in answer]

    return guess


def without_cache(model: Llama, prompt: Sequence[int], new: int) -> list[int]:
    """Greedy tokens by reading the whole text anew for each of them: what the cache saves."""
    tokens, blocks = list(prompt), -(-(len(prompt) + new) // BLOCK)
    cache, kernels = Cache(model.config, 1 + blocks, model.dtype), Usual()
    for _ in range(new):
        hidden = model.forward(Rows.of([(tokens, 0, list(range(1, 1 + blocks)))]), cache, kernels)
        tokens.append(int(model.logits(hidden[-1:], kernels).argmax()))
    return tokens[len(prompt) :]


def passes(model: Llama, counts: Sequence[int], before: int = 64, pairs: int = 8) -> Comparison:
    """Times of one pass: "decode, n" takes a row of each of n sequences with `before` tokens in the cache,
    "prefill, n" takes n rows of one prompt.
    """
    most, kernels = max(counts), Usual()
    blocks = before // BLOCK + 1
    cache = Cache(model.config, 1 + max(most * blocks, most // BLOCK + 1), model.dtype)

    def one(rows: Rows) -> Callable[[], object]:
        return lambda: model.logits(model.forward(rows, cache, kernels)[-1:], kernels)

    ways = {}
    for count in counts:
        tables = [list(range(1 + n * blocks, 1 + (n + 1) * blocks)) for n in range(count)]
        ways[f"decode, {count}"] = one(Rows.of([([1], before, table) for table in tables]))
        ways[f"prefill, {count}"] = one(Rows.of([([1] * count, 0, list(range(1, count // BLOCK + 2)))]))
    return bench.compare(ways, pairs)


def common_beginning(
    count: int, shared: int, own: int, new: int, vocabulary: int, seed: int = 0
) -> list[Request]:
    """Requests whose prompts begin with the same `shared` tokens and go on with `own` of their own."""
    start = prompts(1, (shared, shared), vocabulary, seed)[0] if shared else []
    return [Request(start + end, new) for end in prompts(count, (own, own), vocabulary, seed + 1)]


def blocks_of_answers(model: Llama, prompt: list[int], answers: int, new: int) -> dict[str, int]:
    """The most blocks in use while one prompt gets so many answers: by one request, and by as many as answers."""
    warm = Sampling(temperature=1.0)
    ways = {
        "one request, forked": [Request(prompt, new, warm, answers=answers)],
        "separate requests": [Request(prompt, new, Sampling(1.0, seed=n)) for n in range(answers)],
    }
    found = {}
    for name, requests in ways.items():
        engine, most = Engine(model, keep=False), 0
        for request in requests:
            engine.submit(request)
        while engine.scheduler.waiting or engine.scheduler.running:
            engine.step()
            most = max(most, len(engine.pool.holders))
        found[name] = most
    return found


def stalls(
    model: Llama, ways: Mapping[str, dict], long: int, repeats: int = 5
) -> dict[str, tuple[float, float, float]]:
    """Eight sequences decode, and a prompt of `long` tokens comes; in interleaved runs.

    Returns: for each way (options of the scheduler) the medians of the longest and the mean time between two tokens
    of the eight, and of the long prompt's TTFT, in seconds.
    """
    random = prompts(9, (long, long), model.config.vocabulary)
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, options in ways.items():
            requests = [Request(prompt[:8], 48) for prompt in random[:8]]
            engine = Engine(model, scheduler=Scheduler(**options))
            for request in requests:
                engine.submit(request)
            for _ in range(8):
                engine.step()
            engine.submit(Request(random[8], 2, arrival=engine.clock.now()))
            report = engine.run([])
            *eight, last = sorted(report.sequences, key=lambda s: len(s.request.prompt))
            gaps = np.concatenate([np.diff(s.times) for s in eight])
            ttft = last.times[0] - last.request.arrival
            seen[name].append((float(gaps.max()), float(gaps.mean()), ttft))
    return {name: tuple(np.median(found, axis=0).tolist()) for name, found in seen.items()}


def expected_tokens(right: float, guesses: int) -> float:
    """Tokens of a step whose guesses are right with this probability: 1 + a + a^2 + ... (Leviathan et al. 2023)."""
    return sum(right**n for n in range(guesses + 1))


def drafted(
    model: Llama,
    requests: Sequence[Request],
    answers: Sequence[Sequence[int]],
    right: float | None,
    most: int,
    guesses: int = 4,
):
    """A run with a rehearsed draft whose guesses are right so often; None for no draft."""
    whole = [r.prompt + list(a) for r, a in zip(requests, answers, strict=False)]
    draft = None if right is None else rehearsed(whole, right, model.config.vocabulary)
    return engine_run(model, requests, most=most, budget=256, draft=draft, guesses=guesses)


def tokens_of_a_step(model: Llama, requests: Sequence[Request], right: float, guesses: int) -> float:
    """Tokens that a sequence writes in a step with a rehearsed draft, on average; but for the last steps."""
    known = engine_run(model, requests, most=len(requests), budget=2048)().answers
    whole = [r.prompt + answer for r, answer in zip(requests, known, strict=True)]
    draft = rehearsed(whole, right, model.config.vocabulary)
    schedule = Scheduler(budget=2048, most=len(requests))
    report = Engine(model, scheduler=schedule, draft=draft, guesses=guesses, clock=StepClock()).run(requests)
    # All tokens of a step have its time. The first token is the prefill's.
    times = [[t for t in s.times if s.times[0] < t <= s.times[-guesses - 2]] for s in report.sequences]
    return sum(map(len, times)) / sum(len(set(found)) for found in times)


def attention_cases() -> list[tuple[tuple, torch.Tensor]]:
    """For the exercise: (query, blocks of keys, blocks of values), and attention over all of them at once."""
    random, cases = torch.Generator().manual_seed(0), []
    for sizes, scale in (([4], 1.0), ([4, 4, 4], 1.0), ([4, 4, 2], 50.0), ([1] * 6, 200.0)):
        query = torch.randn(8, generator=random) * scale
        keys = [torch.randn(size, 8, generator=random) for size in sizes]
        values = [torch.randn(size, 8, generator=random) for size in sizes]
        weights = (torch.cat(keys) @ query / 8**0.5).softmax(0)
        cases.append(((query, keys, values), weights @ torch.cat(values)))
    return cases
