"""Formulas agree with tables and with long queues on paper; the gauge's mean weighs by time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effdl import load
from week06_deployment import queueing


def test_erlang_c_has_the_values_of_printed_tables():
    assert queueing.erlang_c(1, 0.5) == pytest.approx(0.5)
    assert queueing.erlang_c(2, 0.8) == pytest.approx(0.7111, abs=1e-4)
    assert queueing.erlang_c(5, 0.8) == pytest.approx(0.5541, abs=1e-4)
    for bad in ((1, 1.0), (0, 0.5), (2, 0.0)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            queueing.erlang_c(*bad)


def test_one_worker_waits_by_pollaczek_and_khinchine():
    assert queueing.waiting(8, 0.1, variation=1) == pytest.approx(0.4)
    assert queueing.waiting(8, 0.1, variation=0) == pytest.approx(0.2)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_server_that_a_busy_machine_overloads_stops_no_page_and_waits_without_end(workers):
    assert queueing.waiting(10 * workers, 0.1, workers) == np.inf
    assert queueing.waiting(10.2 * workers, 0.1, workers, variation=0) == np.inf


@pytest.mark.parametrize(("workers", "rel"), [(1, 0.03), (4, 0.05)])
def test_a_long_queue_on_paper_waits_as_the_formula_says(workers, rel):
    arrivals = load.schedule(80, 5000, seed=0)
    seconds = 0.01 * workers
    waited = queueing.on_paper(arrivals, seconds, workers).mean() - seconds
    assert waited == pytest.approx(queueing.waiting(80, seconds, workers, variation=0), rel=rel)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=40).map(sorted), st.integers(1, 4))
def test_the_queue_on_paper_is_that_of_workers_who_take_turns_in_order(arrivals, workers):
    free, expected = [0.0] * workers, []
    for arrival in arrivals:
        place = free.index(min(free))
        free[place] = max(free[place], arrival) + 1.5
        expected.append(free[place] - arrival)
    assert queueing.on_paper(np.array(arrivals), 1.5, workers) == pytest.approx(expected, abs=1e-9)


def test_a_typical_trace_costs_on_paper_what_the_average_one_does_and_is_always_the_same():
    times = queueing.typical(40, 8, 0.02)
    expected = 0.02 + queueing.waiting(40, 0.02, variation=0)
    assert queueing.on_paper(times, 0.02).mean() == pytest.approx(expected, rel=0.05)
    assert len(times) / times[-1] == pytest.approx(40, rel=0.05)
    assert np.array_equal(times, queueing.typical(40, 8, 0.02))


def test_a_gauges_mean_weighs_each_reading_by_how_long_it_held():
    seen = [(0.0, 4), (1.0, 0), (4.0, 2), (5.0, 9)]
    assert queueing.mean_inside(seen, 0, 5) == pytest.approx((4 + 0 + 2) / 5)
    assert queueing.mean_inside(seen, 3, 5) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="not read"):
        queueing.mean_inside(seen, 7, 8)


def test_steps_and_groups_have_their_rates_and_ascend():
    times = queueing.steps((25, 1), (75, 3), (25, 3))
    assert len(times) == 325
    assert (np.diff(times) >= 0).all()
    groups = queueing.bursts(16, 8, 0.002, 6)
    assert len(groups) == 96
    assert (np.diff(groups) >= 0).all()
