"""Offloaded activations come back as they left, in time, and leave the memory meanwhile."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from effdl import memory
from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models.offload import Disk, Host, offload


def step(model, store=None, at_least=0):
    """One step's gradients."""
    tokens, targets = text_batch(0, 4, 32)
    model.zero_grad()
    if store is None:
        next_token_loss(model(tokens), targets).backward()
    else:
        with offload(store, model.parameters(), at_least):
            loss = next_token_loss(model(tokens), targets)
        loss.backward()
    return [p.grad for p in model.parameters()]


@pytest.fixture
def model():
    return Transformer(Config(length=32, width=32, heads=2, blocks=4))


@pytest.mark.parametrize("at_least", [0, 2**12])
@pytest.mark.parametrize("store", [Host, Disk])
def test_gradients_are_the_same_to_the_bit(model, store, at_least):
    plain = step(model)
    moved = step(model, store(), at_least)
    assert all(torch.equal(a, b) for a, b in zip(plain, moved, strict=True))


@settings(max_examples=20, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=8),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    order=st.randoms(use_true_random=False),
    ahead=st.integers(0, 3),
)
def test_any_tensors_come_back_in_any_order(shapes, dtype, order, ahead):
    tensors = [(torch.rand(shape) * 9).to(dtype) for shape in shapes]
    tensors += [torch.arange(6.0).view(2, 3).T]  # not contiguous
    with Disk(pending=2, ahead=ahead) as disk:
        tickets = [disk.put(tensor) for tensor in tensors]
        numbers = list(range(len(tensors)))
        order.shuffle(numbers)
        for number in [*numbers, numbers[0]]:
            assert torch.equal(disk.get(tickets[number]), tensors[number])


def test_a_disk_takes_the_activations_out_of_memory(model):
    step(model)

    def peak(store=None):
        model.zero_grad()
        return memory.measure(step, model, store, 2**12).peak

    with Disk(pending=1, ahead=1) as disk:
        assert peak(disk) < 0.5 * peak()


def test_steps_share_one_file(model):
    with Disk() as disk:
        step(model, disk)
        first = disk.end
        step(model, disk)
        assert disk.end == first


def test_reading_ahead_is_there_before_it_is_asked():
    with Disk(ahead=3) as disk:
        tickets = [disk.put(torch.full((10,), float(k))) for k in range(4)]
        disk.get(tickets[3])
        assert all(ticket.memory is not None for ticket in tickets[:3])
        disk.close()  # waits for the thread
    assert [float(ticket.memory.view(torch.float32)[0]) for ticket in tickets[:3]] == [0, 1, 2]


def test_a_graph_that_is_dropped_frees_what_stayed():
    x = torch.ones(1000, requires_grad=True)

    def forward_only():
        with offload(Host(), at_least=2**20):
            x.exp()

    assert memory.measure(forward_only).kept == 0
