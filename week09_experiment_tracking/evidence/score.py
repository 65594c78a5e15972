"""What kills say: scores of suites, and whether suites that kill more mutants also find more real bugs."""

import time
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
from scipy import stats

from week09_experiment_tracking.evidence.pool import POOL
from week09_experiment_tracking.evidence.record import Kills

EQUIVALENT: dict[int, str] = {
    84: "equivalent: at equality the factor is 1",
    110: "equivalent: the lists have one length",
    134: "equivalent: another order, as good",
    136: "equivalent: another order, as good",
    137: "equivalent: another order, as good",
    156: "equivalent: of four columns, -2 is 2",
    159: "equivalent: of four columns, -2 is 2",
    181: "equivalent: the models have as many parameters",
    188: "equivalent: the models have as many buffers",
    190: "equivalent: the first loss sets it to 0",
    207: "equivalent: the size of a batch changes no accuracy",
    220: "equivalent: the scale is taken out again",
    221: "equivalent: the scale is taken out again",
    237: "equivalent: another order, as good",
    254: "equivalent: another order, as good",
    255: "equivalent: another order, as good",
    256: "equivalent: another order, as good",
}
"""Survivors of all tests that are no fault, by number, with the reason: no input tells them from the kit, or
the order that they draw is as good."""


def share(failed: np.ndarray, suite: Sequence[int]) -> float:
    """Share of the faults (columns) at which at least one test of the suite failed."""
    return float(failed[list(suite)].any(0).mean())


def suites(tests: int, count: int, sizes: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """Random suites: each a draw of tests without repetition, of a size drawn from `sizes`."""
    rng = np.random.default_rng(seed)
    return [rng.choice(tests, rng.choice(sizes), replace=False) for _ in range(count)]


def correlation(kills: Kills, chosen: Sequence[np.ndarray], draws: int = 400, seed: int = 0):
    """Spearman's rank correlation of mutants killed and real bugs found, over suites, with its 95 % interval.

    The interval is a bootstrap over mutants and over bugs: they, and not the suites, are the sample.
    """
    member = np.zeros((len(chosen), len(kills.tests)))
    for row, suite in zip(member, chosen, strict=True):
        row[suite] = 1
    found = [(member @ failed > 0).astype(float) for failed in (kills.of_mutants, kills.of_bugs)]
    rng = np.random.default_rng(seed)

    def once(weights: Sequence[np.ndarray]) -> float:
        return float(stats.spearmanr(*(f @ w for f, w in zip(found, weights, strict=True))).statistic)

    value = once([np.ones(f.shape[1]) for f in found])
    resampled = [
        once([rng.multinomial(f.shape[1], np.full(f.shape[1], 1 / f.shape[1])) for f in found])
        for _ in range(draws)
    ]
    return value, *np.quantile(resampled, [0.025, 0.975])


def times(module: ModuleType) -> dict[str, float]:
    """Seconds that each test of the pool takes on a kit, once it has run: what it imports is not in them."""
    found = {}
    for test in POOL:
        test.run(module)
        start = time.perf_counter()
        test.run(module)
        found[test.name] = time.perf_counter() - start
    return found


def by_style(kills: Kills, seconds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """For each style of test alone, and for all: tests, seconds, share of mutants killed, bugs found."""
    rows = {}
    for style in [*dict.fromkeys(kills.styles), "all"]:
        suite = np.arange(len(kills.tests)) if style == "all" else kills.of_style(style)
        rows[style] = {
            "tests": len(suite),
            "seconds": sum(seconds[kills.tests[i]] for i in suite),
            "mutants": share(kills.of_mutants, suite),
            "bugs": int(kills.of_bugs[suite].any(0).sum()),
        }
    return rows


def bound_for(logs: np.ndarray, rate: float) -> float:
    """The bound that a normal number with the mean and spread of `logs` is above with probability `rate`."""
    return float(logs.mean() + logs.std(ddof=1) * stats.norm.isf(rate))


def survivors(kills: Kills) -> list[int]:
    """Numbers of the mutants that no test of the pool noticed."""
    return np.flatnonzero(~kills.of_mutants.any(0)).tolist()
