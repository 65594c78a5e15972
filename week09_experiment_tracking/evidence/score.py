"""What kills say: scores of suites, and whether suites that kill more mutants also find more real bugs."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from week09_experiment_tracking.evidence.record import Kills

EQUIVALENT: dict[int, str] = {}
"""Survivors of all tests that are no fault, by number, with the reason: no input tells them from the kit."""


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


def by_style(kills: Kills) -> Mapping[str, dict[str, float]]:
    """For each style of test alone, and for all: tests, seconds, mutants killed, bugs found, per second."""
    rows = {}
    for style in [*dict.fromkeys(kills.styles), "all"]:
        suite = np.arange(len(kills.tests)) if style == "all" else kills.of_style(style)
        seconds, bugs = kills.seconds[suite].sum(), kills.of_bugs[suite].any(0).sum()
        rows[style] = {
            "tests": len(suite),
            "seconds": float(seconds),
            "mutants": share(kills.of_mutants, suite),
            "bugs": int(bugs),
            "bugs a second": float(bugs / seconds),
        }
    return rows


def bound_for(logs: np.ndarray, rate: float) -> float:
    """The bound that a normal number with the mean and spread of `logs` is above with probability `rate`."""
    return float(logs.mean() + logs.std(ddof=1) * stats.norm.isf(rate))


def survivors(kills: Kills) -> list[int]:
    """Numbers of the mutants that no test of the pool noticed."""
    return np.flatnonzero(~kills.of_mutants.any(0)).tolist()
