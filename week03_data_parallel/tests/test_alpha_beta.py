"""The fit finds the constants that made the times, and the crossover of the formula."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week03_data_parallel import alpha_beta, overlap, schedules

CASES = [(name, n, nbytes) for name in ("tree", "ring") for n in (2, 4) for nbytes in (1e3, 1e5, 1e7)]


@pytest.mark.parametrize("lanes", [1, 2, math.inf])
def test_fit_recovers_alpha_and_beta(lanes):
    truth = alpha_beta.Model(3e-4, 2e-9, lanes)
    found = alpha_beta.fit({case: truth.predict(*case) for case in CASES}, lanes)
    assert found.alpha == pytest.approx(truth.alpha, rel=0.05)
    assert found.beta == pytest.approx(truth.beta, rel=0.05)
    assert alpha_beta.typical_error(found, {case: truth.predict(*case) for case in CASES}) < 1.05


@pytest.mark.parametrize("ranks", [4, 8, 16, 64])
def test_crossover_of_tree_and_ring_is_that_of_the_formula(ranks):
    model, log = alpha_beta.Model(20e-6, 1e-10, math.inf), math.log2(ranks)
    formula = 20e-6 / 1e-10 * (ranks - 1 - log) / (log - (ranks - 1) / ranks)
    assert model.crossover("tree", "ring", ranks) == pytest.approx(formula, rel=0.01)


def test_on_one_lane_the_ring_never_overtakes_the_tree():
    assert alpha_beta.Model(20e-6, 1e-10, 1).crossover("tree", "ring", 8) == math.inf


def test_measured_crossover_lies_where_the_sign_changes():
    assert alpha_beta.measured_crossover({1: (1, 2), 4: (1, 1), 16: (2, 1)}) == pytest.approx(4)
    assert alpha_beta.measured_crossover({1: (1, 2), 4: (1, 2)}) == math.inf
    assert alpha_beta.measured_crossover({1: (2, 1), 4: (2, 1)}) == 0


@given(st.sampled_from(sorted(schedules.FLAT)), st.integers(1, 9), st.floats(1, 1e9))
def test_fewer_lanes_never_make_an_all_reduce_faster(name, ranks, nbytes):
    times = [
        schedules.cost(schedules.FLAT[name](ranks), nbytes, 1e-4, 1e-9, lanes) for lanes in (1, 2, math.inf)
    ]
    assert times == sorted(times, reverse=True)


@given(st.integers(1, 40), st.floats(0, 0.01), st.floats(0, 0.5))
def test_overlap_never_costs_time_and_hides_no_more_than_there_is(buckets, alpha, transfer):
    with_overlap = overlap.step(0.1, buckets, alpha, transfer)
    without = overlap.step(0.1, buckets, alpha, transfer, overlap=False)
    assert with_overlap.end <= without.end + 1e-9
    assert with_overlap.end >= max(0.1, buckets * alpha + transfer) - 1e-9
