"""Placement: the simulator's times, the true optimum, and searches that never claim to beat it."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_large_models import placement
from week04_large_models.placement import Machine, Operation

SEARCHES = {
    "random": lambda graph, machine: placement.random_search(graph, machine, 300),
    "local": lambda graph, machine: placement.local_search(graph, machine, 300),
    "reinforce": lambda graph, machine: placement.reinforce(graph, machine, 300),
    "greedy": placement.greedy,
    "by group": lambda graph, machine: placement.exhaustive(graph, machine, by_group=True),
}


@st.composite
def graphs(draw):
    """A graph of up to six operations with any inputs."""
    seconds, output = st.integers(1, 5), st.integers(0, 4)
    graph = []
    for number in range(draw(st.integers(1, 6))):
        inputs = draw(st.sets(st.integers(0, number - 1))) if number else set()
        graph.append(
            Operation(str(number), draw(seconds), draw(output), 1.0, tuple(sorted(inputs)), number // 2)
        )
    return graph


@given(graphs(), st.integers(1, 3), st.data())
def test_no_operation_starts_before_its_inputs_or_while_its_device_is_busy(graph, devices, data):
    machine = Machine(devices, latency=0.5, bandwidth=2.0)
    places = data.draw(st.lists(st.integers(0, devices - 1), min_size=len(graph), max_size=len(graph)))
    (start,), (end,) = placement.simulate(graph, np.array([places]), machine)
    for number, operation in enumerate(graph):
        assert end[number] - start[number] == operation.seconds
        for source in operation.inputs:
            away = places[source] != places[number]
            assert start[number] >= end[source] + away * (0.5 + graph[source].output / 2.0)
    for a, b in itertools.combinations(range(len(graph)), 2):
        if places[a] == places[b]:
            assert start[b] >= end[a]


def test_a_diamond_by_hand():
    graph = [
        Operation("top", 1, 8, 0),
        Operation("left", 4, 2, 0, (0,)),
        Operation("right", 3, 2, 0, (0,)),
        Operation("join", 1, 0, 0, (1, 2)),
    ]
    machine = Machine(2, latency=0.5, bandwidth=4.0)
    times = placement.step_times(graph, np.array([[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]), machine)
    # Alone 9; right elsewhere: 1 + 2.5 + 3 + 1 back = 7.5, and 1 more; left elsewhere: 1 + 2.5 + 4 + 1 + 1.
    assert times.tolist() == [9.0, 8.5, 9.5]
    # Best is the join beside the right: the left's message arrives at 1 + 4 + 1, before the right ends at 6.5.
    best = placement.exhaustive(graph, machine)
    assert best.placement.tolist() == [0, 0, 1, 1]
    assert best.seconds == 7.5


@given(graphs(), st.integers(1, 3))
def test_no_search_finds_less_than_the_optimum_nor_the_optimum_less_than_the_bound(graph, devices):
    machine = Machine(devices, latency=0.5, bandwidth=2.0)
    best = placement.exhaustive(graph, machine).seconds
    assert best >= placement.bound(graph, machine) - 1e-9
    for search in SEARCHES.values():
        assert search(graph, machine).seconds >= best - 1e-9


@given(graphs())
def test_exhaustive_search_is_the_minimum_of_a_plain_loop(graph):
    machine = Machine(2, latency=0.5, bandwidth=2.0, memory=4.0)
    every = [np.array([places]) for places in itertools.product(range(2), repeat=len(graph))]
    least = min(placement.step_times(graph, places, machine)[0] for places in every)
    assert placement.exhaustive(graph, machine).seconds == least


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_a_found_placement_takes_the_time_it_says_and_fits(name):
    graph = placement.recurrent(3, 4, 1.0, 0.0, 1.0)
    machine = Machine(3, memory=1.4, latency=0.5)
    found = SEARCHES[name](graph, machine)
    assert placement.step_times(graph, found.placement[None], machine)[0] == found.seconds < np.inf
    tried, best = zip(*found.curve, strict=True)
    assert list(tried) == sorted(tried)
    assert list(best) == sorted(best, reverse=True)
    assert best[-1] == found.seconds


def test_what_does_not_fit_takes_for_ever():
    graph = placement.recurrent(2, 2, 1.0, 0.0, 1.0)
    times = placement.step_times(graph, np.array([[0, 0, 0, 0, 0], [0, 1, 0, 1, 1]]), Machine(2, memory=1.0))
    assert times.tolist() == [np.inf, 4.0]


def test_reinforce_learns_more_than_it_would_by_luck():
    graph, machine = placement.recurrent(4, 8, 1.0, 0.0, 1.0), Machine(4, memory=1.5, latency=1.0)
    learned = placement.reinforce(graph, machine, 10_000).seconds
    assert learned < placement.random_search(graph, machine, 10_000).seconds


def test_too_many_placements_are_refused_before_they_are_tried():
    with pytest.raises(ValueError, match="too many"):
        placement.exhaustive(placement.recurrent(4, 8, 1.0, 0.0, 1.0), Machine(4))
