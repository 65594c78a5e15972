"""The schedules as data: right sums for any world size and length, the textbook's volumes and costs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from week03_data_parallel import schedules

NAMES = sorted(schedules.FLAT)
MAKERS = [schedules.FLAT[name] for name in NAMES]
POWERS = [2, 4, 8, 16]


def whole(ranks, length):
    return np.random.default_rng(ranks * 1000 + length).integers(-99, 99, (ranks, length))


@given(st.sampled_from(MAKERS), st.integers(1, 17), st.integers(0, 40))
def test_every_rank_ends_with_the_sum_for_any_world_size_and_length(make, ranks, length):
    tensors = whole(ranks, length)
    final = schedules.simulate(make(ranks), tensors)[-1]
    assert (final == tensors.sum(axis=0)).all()


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 30))
def test_hierarchical_sums_for_any_number_of_hosts(hosts, per_host, length):
    tensors = whole(hosts * per_host, length)
    schedule = schedules.hierarchical(hosts * per_host, per_host)
    assert (schedules.simulate(schedule, tensors)[-1] == tensors.sum(axis=0)).all()


@given(st.sampled_from(MAKERS), st.integers(1, 17))
def test_no_rank_talks_to_itself_and_every_range_is_a_real_one(make, ranks):
    schedule = make(ranks)
    for m in (m for messages in schedule.rounds for m in messages):
        assert m.source != m.target
        assert 0 <= m.start < m.stop <= schedule.chunks
        assert {m.source, m.target} <= set(range(ranks))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ranks", POWERS)
def test_volume_of_a_schedule_is_the_formula(name, ranks):
    sent = schedules.bytes_sent(schedules.FLAT[name](ranks), 1.0)
    assert sent.sum() == pytest.approx(schedules.volume(name, ranks))


@given(st.integers(1, 40))
def test_ring_sends_the_least_possible_from_every_rank(ranks):
    sent = schedules.bytes_sent(schedules.ring(ranks), 1.0)
    assert sent == pytest.approx(np.full(ranks, 2 * (ranks - 1) / ranks))


@pytest.mark.parametrize("ranks", POWERS)
def test_butterfly_sends_as_little_as_the_ring_in_fewer_rounds(ranks):
    schedule = schedules.butterfly(ranks)
    assert schedules.bytes_sent(schedule, 1.0) == pytest.approx(np.full(ranks, 2 * (ranks - 1) / ranks))
    assert len(schedule.rounds) == 2 * math.log2(ranks)


@pytest.mark.parametrize("ranks", POWERS)
def test_costs_are_those_of_the_textbook(ranks):
    alpha, beta, nbytes, log = 3.0, 0.5, 1024.0, math.log2(ranks)
    expected = {
        "naive": (ranks - 1) * (alpha + beta * nbytes),
        "driver": 2 * (ranks - 1) * (alpha + beta * nbytes),
        "tree": 2 * log * (alpha + beta * nbytes),
        "ring": 2 * (ranks - 1) * (alpha + beta * nbytes / ranks),
        "butterfly": 2 * log * alpha + 2 * (ranks - 1) / ranks * beta * nbytes,
    }
    for name, seconds in expected.items():
        assert schedules.cost(schedules.FLAT[name](ranks), nbytes, alpha, beta) == pytest.approx(seconds)


def test_messages_that_share_one_lane_take_the_sum_of_their_times():
    ring = schedules.ring(4)
    assert schedules.cost(ring, 4.0, 1.0, 1.0, lanes=1) == pytest.approx(
        4 * schedules.cost(ring, 4.0, 1.0, 1.0)
    )


def test_a_host_that_is_not_full_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="choose a divisor of 6"):
        schedules.hierarchical(6, 4)
