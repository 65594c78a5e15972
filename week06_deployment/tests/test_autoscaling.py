"""The autoscaler's formula, its simulation, and what a rolling update leaves of capacity."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week06_deployment import autoscaling as scaling


@pytest.mark.parametrize(
    ("replicas", "metric", "target", "wanted"),
    [
        (50, 0.90, 0.75, 60),
        (3, 1.0, 0.6, 5),
        (4, 0.65, 0.6, 4),
        (4, 0.55, 0.6, 4),
        (4, 0.3, 0.6, 2),
        (1, 0, 0.6, 1),
    ],
)
def test_the_formula_is_kubernetes(replicas, metric, target, wanted):
    assert scaling.wanted(replicas, metric, target) == wanted


def test_a_target_of_zero_is_refused():
    with pytest.raises(ValueError, match="above zero"):
        scaling.wanted(3, 0.5, 0)


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.3, 0.9))
def test_by_a_share_of_time_one_step_asks_for_at_most_one_over_the_target(replicas, metric, target):
    assert scaling.wanted(replicas, metric, target) <= max(replicas, math.ceil(replicas / target))


def test_the_lectures_pods_that_request_half_of_what_they_use_are_there_after_45_seconds():
    def over_the_request(arriving, waiting, capacity):
        return 2 * scaling.busy(arriving, waiting, capacity)

    run = scaling.simulate(scaling.jump(90, 900), 50, over_the_request)
    assert run.until_served(900, 50) - 60 == 45


def test_under_a_steady_load_nothing_moves():
    run = scaling.simulate(lambda second: 90, 50)
    assert set(run.replicas) == {3}
    assert max(run.waiting) == 0


def test_requests_that_wait_are_those_that_came_and_were_not_served():
    run = scaling.simulate(scaling.jump(90, 900), 50, seconds=90)
    assert run.waiting[61] == 900 - 150
    assert run.until_served(900, 50) == math.inf


def test_who_waits_is_served_by_all_pods_that_come_meanwhile():
    run = scaling.Run(per_pod=10, seconds=[0.0, 1.0, 2.0, 3.0, 4.0])
    run.arriving, run.ready = [20, 20, 20, 0, 0], [1, 1, 2, 2, 0]
    run.waiting = [0, 10, 20, 20, 0]
    # Of those who come, 20 by second 1 are served at second 2, 40 by second 2 at 3, and 60 by second 3 at 4.
    assert run.waits().tolist() == [0, 1, 1, 1, 0]
    assert run.longest_wait == 1
    run.waiting = [0, 10, 20, 30, 25]
    assert math.isnan(run.waits()[-1])


def test_no_wait_is_longer_than_without_new_pods():
    run = scaling.simulate(scaling.jump(90, 900), 50)
    assert (run.waits()[:60] == 0).all()
    assert 0 < run.longest_wait < max(run.waiting) / (3 * 50)


def test_downwards_it_waits_for_five_minutes():
    run = scaling.simulate(lambda second: 900 if second < 100 else 50, 50, start=18, start_up=5, seconds=600)
    assert min(run.replicas[:390]) >= 18
    assert run.replicas[-1] < 18


def test_no_step_more_than_doubles_or_adds_four():
    run = scaling.simulate(scaling.jump(90, 9000), 50, scaling.concurrency, start_up=0)
    for before, after in zip(run.replicas, run.replicas[1:], strict=False):
        assert after <= max(2 * before, before + 4)


def test_an_update_without_room_or_without_pods_is_refused():
    assert scaling.during_update(4, 0, 2, 0.6) == (2, pytest.approx(1.2))
    assert scaling.during_update(4, 1, 0, 0.6) == (4, pytest.approx(0.6))
    with pytest.raises(ValueError, match="room"):
        scaling.during_update(4, 0, 0, 0.5)
    with pytest.raises(ValueError, match="nobody"):
        scaling.during_update(2, 1, 2, 0.5)
