"""The rematerialisation game: the search against brute force, programs against autograd and the allocator."""

import heapq

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from effdl import memory
from week04_large_models import rematerialise
from week04_large_models.rematerialise import Graph

SKIP = Graph((2, 6, 4, 2, 5), ((0,), (1,), (2,), (3, 1)), batch=8)


def autograd_gradients(graph, weights, x):
    copies = {edge: w.detach().clone().requires_grad_() for edge, w in weights.items()}
    values = [x]
    for v, inputs in enumerate(graph.inputs, start=1):
        values.append(torch.tanh(sum(values[u] @ copies[u, v].T for u in inputs)))
    (values[-1].square().sum() / 2).backward()
    return {edge: w.grad for edge, w in copies.items()}


def check_program(graph, actions, limit):
    """The program's gradients are autograd's, and its memory is what it says, by the allocator too."""
    weights = rematerialise.weights(graph)
    x = torch.randn(graph.batch, graph.widths[0], generator=torch.Generator().manual_seed(0))
    run = memory.measure(rematerialise.run, graph, weights, x, actions)
    for edge, expected in autograd_gradients(graph, weights, x).items():
        torch.testing.assert_close(weights[edge].grad, expected, atol=1e-4, rtol=1e-4)
    assert run.peak == max(rematerialise.held(graph, actions)) <= limit


def brute_force(graph, limit):
    """The least FLOPs, by Dijkstra over every order of making and dropping one value at a time."""
    goal = frozenset(graph.edges)
    queue, best, number = [(0, 0, frozenset(), frozenset())], {}, 0
    while queue:
        cost, _, alive, done = heapq.heappop(queue)
        done |= {(u, v) for u, v in graph.edges if graph.n + v in alive and (u == 0 or u in alive)}
        if best.get((alive, done), cost + 1) <= cost:
            continue
        best[alive, done] = cost
        if done == goal:
            return cost
        for value in graph.values:
            after = None
            if value in alive:
                after, price = alive - {value}, 0
            elif set(graph.needs(value)) <= alive and sum(map(graph.bytes, alive | {value})) <= limit:
                after, price = alive | {value}, graph.flops(value)
            if after is not None:
                number += 1
                heapq.heappush(queue, (cost + price, number, after, done))
    return None


@pytest.mark.parametrize("share", [1.0, 0.8, 0.7, 0.6, 0.5, 0.4])
def test_search_finds_the_least_that_brute_force_finds(share):
    limit = int(share * sum(map(SKIP.bytes, SKIP.values)))
    actions, least = rematerialise.optimal(SKIP, limit), brute_force(SKIP, limit)
    assert (rematerialise.spent(SKIP, actions) if actions else None) == least
    if actions:
        check_program(SKIP, actions, limit)


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 4))
    widths = tuple(draw(st.integers(1, 6)) for _ in range(n + 1))
    inputs = [
        tuple(sorted(draw(st.sets(st.integers(0, v - 1), min_size=1, max_size=2)) | {v - 1}))
        for v in range(1, n + 1)
    ]
    return Graph(widths, tuple(inputs), batch=4)


@settings(deadline=None, max_examples=25)
@given(graphs(), st.floats(0.3, 1))
def test_search_is_exact_on_any_small_graph_and_never_above_the_greedy_way(graph, share):
    limit = int(share * sum(map(graph.bytes, graph.values)))
    actions, least = rematerialise.optimal(graph, limit), brute_force(graph, limit)
    assert (rematerialise.spent(graph, actions) if actions else None) == least
    greedy = rematerialise.greedy(graph, limit)
    if greedy:
        assert rematerialise.spent(graph, greedy) >= least
        assert max(rematerialise.held(graph, greedy)) <= limit


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_greedy_programs_compute_the_gradients(share):
    limit = int(share * sum(map(SKIP.bytes, SKIP.values)))
    actions = rematerialise.greedy(SKIP, limit)
    assert actions
    check_program(SKIP, actions, limit)


def test_with_enough_memory_nothing_is_made_twice():
    graph = rematerialise.u_net(batch=8)
    actions = rematerialise.optimal(graph, sum(map(graph.bytes, graph.values)))
    assert rematerialise.spent(graph, actions) == graph.once


def test_a_program_that_uses_what_was_dropped_fails():
    actions = [("make", 1), ("drop", 1), ("make", 2)]
    x = torch.ones(SKIP.batch, SKIP.widths[0])
    with pytest.raises(KeyError):
        rematerialise.run(SKIP, rematerialise.weights(SKIP), x, actions)


def test_graph_refuses_an_input_from_the_future():
    with pytest.raises(ValueError, match="layer 1"):
        Graph((1, 1, 1), ((2,), (1,)), batch=1)
