"""The model of offloading, and the link that sleeps."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effdl import memory, stand_ins
from effdl.stand_ins import OnADevice
from effdl.transformer import Config, Transformer, text_batch
from week04_large_models import host_transfer
from week04_large_models.host_transfer import Link, simulate

SECONDS = st.floats(0.1, 10)


@given(st.integers(1, 8), SECONDS, SECONDS, SECONDS, st.one_of(st.none(), st.integers(1, 8)))
def test_a_timeline_obeys_the_device_and_the_link(blocks, forward, backward, transfer, buffers):
    line = simulate(blocks, forward, backward, transfer, buffers)
    for spans in (line.compute, line.out, line.back):
        assert all(first[2] <= second[1] + 1e-9 for first, second in itertools.pairwise(spans))
    assert [i for i, *_ in line.compute] == [*range(blocks), *reversed(range(blocks))]
    done = {i: end for i, _, end in line.compute[:blocks]}
    began = {i: begin for i, begin, _ in line.compute[blocks:]}
    assert all(begin >= done[i] - 1e-9 for i, begin, _ in line.out)
    assert all(end <= began[i] + 1e-9 for i, _, end in line.back)
    assert {i for i, *_ in line.back} == {i for i, *_ in line.out}
    assert line.end >= blocks * (forward + backward) - 1e-9


def test_a_fast_link_costs_nothing_and_a_slow_one_sets_the_pace():
    assert simulate(8, 1.0, 2.0, 0.5, 1).end == 24
    slow = simulate(8, 1.0, 2.0, 10.0, 1)
    assert slow.end == pytest.approx(2 * 10 * len(slow.out), rel=0.25)


def test_fewer_buffers_never_make_a_step_faster():
    ends = [simulate(8, 1.0, 2.0, 3.0, buffers).end for buffers in (1, 2, 4, None)]
    assert ends == sorted(ends, reverse=True)


class Clock:
    """Time that only passes in a sleep. On a busy machine more would leave than that for which there is no room."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def monotonic(self):
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(host_transfer, "time", found := Clock())
    return found


def test_a_link_takes_the_time_of_its_bytes_and_gives_back_the_tensors(clock):
    link = Link(bandwidth=4e5, room=2e5)
    tensors = [torch.randn(25_000) for _ in range(6)]  # a quarter of a second each
    tickets = [link.put(tensor) for tensor in tensors]
    assert clock.now == 1  # all but the two that find room have left
    for tensor, ticket in reversed(list(zip(tensors, tickets, strict=True))):
        assert torch.equal(link.get(ticket), tensor)
    assert clock.now == 2  # and they have come back
    assert link.moved == 4e5


def test_a_step_over_a_link_has_the_same_gradients_in_less_memory():
    model = Transformer(Config(width=32, blocks=6, length=64, heads=4))
    tokens, targets = text_batch(0, 8, 64)

    def gradients(link):
        for parameter in model.parameters():
            parameter.grad = None
        host_transfer.step(model, tokens, targets, link)
        return [p.grad.clone() for p in model.parameters()]

    expected = gradients(None)
    whole = memory.measure(gradients, None).peak
    link = Link(bandwidth=1e9, room=1e6)
    for ours, theirs in zip(gradients(link), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
    assert link.moved > 5e6
    slow_enough = Link(bandwidth=1e9, room=1e6)
    assert memory.measure(gradients, slow_enough).peak < 0.7 * whole


def test_a_race_tells_slow_links_from_fast_ones(clock, monkeypatch):
    def on_a_device(config):
        """A model whose blocks compute for 10 ms forward and for 20 ms backward, by the clock of this test."""
        model = Transformer(config)
        for number, block in enumerate(model.blocks):
            model.blocks[number] = OnADevice(block, 0.01)
        return model

    monkeypatch.setattr(stand_ins, "time", clock)
    monkeypatch.setattr(host_transfer, "Transformer", on_a_device)
    race = host_transfer.race(Config(width=64, blocks=6, length=32), 8, (4, 0.05), rounds=2)
    assert race.model[0] == pytest.approx(1, abs=0.01)
    assert race.model[1] > 2
    assert race.measured[1] > 1.5 * race.measured[0]
    assert race.memory < 0.95
