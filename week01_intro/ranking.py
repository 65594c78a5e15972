"""How often does a way of measuring name the wrong implementation as the faster one?

Two implementations do the same work, one of them 8 % more of it, so the truth is known. Each trial measures
both in two ways with equal effort: A's calls, then B's calls (separate runs), and A B B A ... (pairs).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any

import numpy as np
import torch

from effdl.bench import bootstrap_interval

RIGHT, UNDECIDED, WRONG = "right", "undecided", "wrong"
PAGE = 4096
"""Bytes; processors compare the addresses of loads and stores within a page first."""


def repeat_work(*times: int) -> list[Callable[[], None]]:
    """Functions that take exp of 16,384 float32 values so many times each: their work is known by construction.

    All use the same memory. With buffers of its own each would be faster or slower by where they happen to lie.
    """
    values = torch.linspace(0, 1, 16_384)
    out = torch.empty_like(values)
    return [_repeated_exp(values, out, count) for count in times]


def same_work_elsewhere(times: int, places: int, step: int = 128) -> list[Callable[[], None]]:
    """The same work on the same numbers, at ``places`` places in memory.

    The results lie behind the numbers, each time ``step`` bytes (a multiple of 4) further from the last page
    boundary. Nothing else differs.
    """
    count = 16_384
    memory = torch.empty(2 * count + 2 * PAGE // 4 + places * step // 4)
    begin = -memory.data_ptr() % PAGE // 4
    values = memory[begin : begin + count]
    values.copy_(torch.linspace(0, 1, count))
    starts = [begin + count + place * step // 4 for place in range(places)]
    return [_repeated_exp(values, memory[start : start + count], times) for start in starts]


def _repeated_exp(values: torch.Tensor, out: torch.Tensor, times: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            torch.exp(values, out=out)

    return work


@dataclass(frozen=True)
class Trial:
    """The samples of one trial, in seconds: separate runs of a and b, and the pairs (a, b) measured ABBA."""

    separate_a: Sequence[float]
    separate_b: Sequence[float]
    paired_a: Sequence[float]
    paired_b: Sequence[float]


def seconds(fn: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = perf_counter()
    fn()
    return perf_counter() - start


def run_trial(a: Callable[[], Any], b: Callable[[], Any], calls: int, a_first: bool) -> Trial:
    """One trial: a block of one function, then ABBA pairs, then a block of the other; ``calls`` of each.

    The pairs stand between the blocks, so that the blocks lie some time apart, as two runs by hand do.
    """
    first, second = (a, b) if a_first else (b, a)
    before = [seconds(first) for _ in range(calls)]
    paired_a, paired_b = [], []
    for pair in range(calls):
        if pair % 2 == 0:
            paired_a.append(seconds(a))
            paired_b.append(seconds(b))
        else:
            paired_b.append(seconds(b))
            paired_a.append(seconds(a))
    after = [seconds(second) for _ in range(calls)]
    separate_a, separate_b = (before, after) if a_first else (after, before)
    return Trial(separate_a, separate_b, paired_a, paired_b)


def run_trials(
    a: Callable[[], Any], b: Callable[[], Any], calls: int, trials: int, budget: float
) -> list[Trial]:
    """``trials`` trials, the order of the blocks alternating; fewer if ``budget`` seconds end first, but 30."""
    done: list[Trial] = []
    start = perf_counter()
    while len(done) < trials and (len(done) < 30 or perf_counter() - start < budget):
        done.append(run_trial(a, b, calls, a_first=len(done) % 2 == 0))
    return done


def _one_call(trial: Trial) -> float:
    return trial.separate_b[0] / trial.separate_a[0]


def _means(trial: Trial) -> float:
    return float(np.mean(trial.separate_b) / np.mean(trial.separate_a))


def _medians(trial: Trial) -> float:
    return float(np.median(trial.separate_b) / np.median(trial.separate_a))


def _minima(trial: Trial) -> float:
    return min(trial.separate_b) / min(trial.separate_a)


def _pairs(trial: Trial) -> float:
    return float(np.median(np.divide(trial.paired_b, trial.paired_a)))


def _by_value(estimate: Callable[[Trial], float]) -> Callable[[Trial], str]:
    return lambda trial: RIGHT if estimate(trial) > 1 else WRONG


def _by_separate_intervals(trial: Trial) -> str:
    low_a, high_a = bootstrap_interval(trial.separate_a)
    low_b, high_b = bootstrap_interval(trial.separate_b)
    return RIGHT if low_b > high_a else WRONG if high_b < low_a else UNDECIDED


def _verdict_of_interval(low: float, high: float) -> str:
    return RIGHT if low > 1 else WRONG if high < 1 else UNDECIDED


def _by_pair_interval(trial: Trial) -> str:
    return _verdict_of_interval(*bootstrap_interval(_pair_ratios([trial])))


def _pair_ratios(trials: Iterable[Trial]) -> np.ndarray:
    return np.concatenate([np.divide(trial.paired_b, trial.paired_a) for trial in trials])


@dataclass(frozen=True)
class Protocol:
    """A way to measure: the ratio b / a it reports, and what it says about which is slower (b is)."""

    name: str
    estimate: Callable[[Trial], float]
    verdict: Callable[[Trial], str]
    trials: int = 1
    """How many trials in a row give it their samples."""


PROTOCOLS = [
    Protocol("one call each", _one_call, _by_value(_one_call)),
    Protocol("separate runs, mean", _means, _by_value(_means)),
    Protocol("separate runs, median", _medians, _by_value(_medians)),
    Protocol("separate runs, minimum", _minima, _by_value(_minima)),
    Protocol("separate runs, 98 % intervals", _medians, _by_separate_intervals),
    Protocol("ABBA pairs, 98 % interval", _pairs, _by_pair_interval),
    Protocol("ABBA, four times the pairs", _pairs, _by_pair_interval, trials=4),
]


def together(trials: Sequence[Trial], count: int) -> list[Trial]:
    """Each ``count`` trials in a row as one trial with all their samples; a rest that is too short is left."""
    groups = [trials[i : i + count] for i in range(0, len(trials) - count + 1, count)]
    return [
        Trial(*(np.concatenate([getattr(trial, field.name) for trial in group]) for field in fields(Trial)))
        for group in groups
    ]


def judge(trials: Sequence[Trial]) -> dict[str, list[str]]:
    """What every protocol says of every trial; b is truly the slower one."""
    return {
        protocol.name: [protocol.verdict(trial) for trial in together(trials, protocol.trials)]
        for protocol in PROTOCOLS
    }


def share(verdicts: Sequence[str], kind: str) -> float:
    """Share of RIGHT, UNDECIDED or WRONG among the verdicts."""
    return verdicts.count(kind) / len(verdicts)


def judge_by_pairs(trials: Sequence[Trial], pairs: int) -> list[str]:
    """What ABBA says if it takes ``pairs`` pairs, a multiple of those of a trial, from trials in a row."""
    return [_by_pair_interval(trial) for trial in together(trials, pairs // len(trials[0].paired_a))]


def pooled_ratio(trials: Iterable[Trial]) -> tuple[float, float, float]:
    """The ratio b / a from the pairs of all trials together: median, and 98 % bootstrap interval."""
    ratios = _pair_ratios(trials)
    return (float(np.median(ratios)), *bootstrap_interval(ratios))


def spread(values: np.ndarray) -> float:
    """95th over 5th percentile: 2 means that of twenty reports the slowest says twice the fastest."""
    low, high = np.quantile(values, [0.05, 0.95])
    return float(high / low)


TIMER_CASES = {"the same function twice": (40, 40, 18), "8 % more work": (50, 54, 12)}
"""Units of work of a and of b, and how often of TIMER_TRIALS a timer must say what is true of them."""
TIMER_TRIALS = 20
TIMER_SPECIFICATION = [((case,), "passes") for case in TIMER_CASES]
"""Cases for effdl.notebook.check_exercise: (what is compared), what timer_verdict says."""


def timer_verdict(
    timer: Callable[..., tuple[float, float, float]],
    case: str,
    work: Callable[..., Sequence[Callable[[], Any]]] = repeat_work,
    clock: Callable[[], float] = perf_counter,
) -> str:
    """Try a timer where the answer is known: ``"passes"``, or how often its interval told the truth.

    ``timer(a, b, pairs, clock)`` returns how many times as long b takes as a, and the ends of a 98 % interval.
    ``work`` makes functions that do so many units of work each, as :func:`repeat_work` does.
    """
    less, more, needed = TIMER_CASES[case]
    a, b = work(less, more)
    right = 0
    for _ in range(TIMER_TRIALS):
        _, low, high = timer(a, b, 20, clock)
        right += low <= 1 <= high if less == more else low > 1
    return (
        "passes" if right >= needed else f"right in {right} of {TIMER_TRIALS}, at least {needed} are needed"
    )


def drift_bias(order: str, degree: int) -> int:
    """What a drift t**degree of the machine adds to B's total over A's, if call t is A or B as ``order`` says.

    Zero means that the order cancels the drift. Raises ValueError unless A and B are called equally often.
    """
    if set(order) != {"A", "B"} or order.count("A") != order.count("B"):
        raise ValueError(f"an order holds as many A as B and nothing else, not {order!r}")
    return sum(t**degree if letter == "B" else -(t**degree) for t, letter in enumerate(order))


DRIFT_SPECIFICATION = [((degree,), 0) for degree in (1, 2, 3)]
"""Cases for effdl.notebook.check_exercise: (degree of the drift), bias."""
