"""benchmark() meets its specification on the fake machine, and the specification rejects the usual mistakes."""

import time

import numpy as np
import pytest

from week01_intro.benchmark import MACHINES, SPECIFICATION, TRUE_MS, Stats, benchmark, on_fake_machine


def failures(candidate):
    return [case for case, expected in SPECIFICATION if on_fake_machine(candidate, *case) != expected]


def variant(warm=True, before=True, after=True, reduce=np.median, together=False):
    """A benchmark with one of the mistakes that the seminar shows."""

    def candidate(fn, warmup, iters, clock, synchronize):
        for _ in range(warmup if warm else 0):
            fn()
        if together:
            synchronize()
        samples = []
        for _ in range(iters):
            if before and not together:
                synchronize()
            start = clock()
            fn()
            if after and not together:
                synchronize()
            samples.append(clock() - start)
        low, high = np.quantile(samples, [0.25, 0.75])
        return Stats(float(reduce(samples)), float(low), float(high), tuple(samples))

    return candidate


def test_reference_meets_every_case():
    assert failures(benchmark) == []


def test_variant_without_a_mistake_meets_every_case():
    assert failures(variant()) == []


@pytest.mark.parametrize(
    "mistake",
    [{"warm": False}, {"before": False}, {"after": False}, {"reduce": np.mean}, {"together": True}],
    ids=lambda mistake: " ".join(mistake),
)
def test_specification_rejects_the_mistake(mistake):
    assert failures(variant(**mistake))


@pytest.mark.parametrize("machine", MACHINES)
def test_median_is_the_true_time_on_every_fake_machine(machine):
    assert on_fake_machine(benchmark, machine, "median") == TRUE_MS


def test_real_clock_gives_one_positive_sample_per_iteration():
    stats = benchmark(lambda: time.sleep(0.001), warmup=1, iters=5)
    assert len(stats.samples) == 5
    assert 0.001 <= min(stats.samples) <= stats.low <= stats.median <= stats.high <= max(stats.samples)


@pytest.mark.parametrize("arguments", [{"iters": 0}, {"warmup": -1}])
def test_senseless_counts_are_refused(arguments):
    with pytest.raises(ValueError, match="iters >= 1"):
        benchmark(lambda: None, **arguments)
