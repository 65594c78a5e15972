"""Bytes at the sockets, calls from outside, and links that the kernel slows down."""

import math
import sys
import time
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from effdl import launch
from week04_large_models.traffic import Collectives, Sockets, pace

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts and paces a socket's bytes")

SIZE = 2**18  # float32 numbers of a tensor: 1 MiB


def counts_on_rank():
    """Bytes of each collective, by the sockets and by formula, in tensors."""
    world, whole = dist.get_world_size(), torch.ones(SIZE)
    part = torch.ones(SIZE // world)
    calls = {
        "nothing": lambda: None,
        "all-reduce": lambda: dist.all_reduce(whole),
        "gather": lambda: dist.all_gather_into_tensor(torch.empty(SIZE), part),
        "scatter": lambda: dist.reduce_scatter_tensor(torch.empty(SIZE // world), whole),
        "exchange": lambda: dist.all_to_all_single(torch.empty(SIZE), whole),
    }
    found = {}
    for name, call in calls.items():
        with Sockets() as wire, Collectives() as seen:
            call()
        found[name] = wire.sent / whole.nbytes, seen.by_formula / whole.nbytes
    return found


@on_linux
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_sockets_count_what_the_formulas_say_but_for_the_scatter(ranks):
    share = (ranks - 1) / ranks
    for found in launch.run(counts_on_rank, ranks):
        assert found["nothing"][0] < 0.01
        for name, times in {"all-reduce": 2, "gather": 1, "exchange": 1}.items():
            assert found[name][1] == pytest.approx(times * share)
            assert found[name][0] == pytest.approx(times * share, rel=0.02)
        # A better library may send less one day, but no less than this.
        assert share * 0.99 <= found["scatter"][0] <= 2 * share * 1.02 + 0.01
        assert found["scatter"][1] == pytest.approx(share)


def failing_on_rank():
    with pytest.raises(KeyError), Sockets():
        raise KeyError
    return dist.get_rank()


def test_an_error_inside_does_not_wait_for_the_other_ranks():
    assert launch.run(failing_on_rank, 2) == [0, 1]


def paced_on_rank(rate):
    tensor = torch.ones(SIZE)
    dist.all_reduce(tensor)
    count = pace(rate)
    dist.barrier()
    begin = time.perf_counter()
    dist.all_reduce(tensor)
    return count, time.perf_counter() - begin


@on_linux
def test_a_paced_link_carries_no_more_than_its_rate():
    for count, seconds in launch.run(paced_on_rank, 2, args=(4e6,)):
        assert count >= 1
        # A mebibyte leaves each rank; the first packets of a connection may go in a burst.
        assert seconds > 0.5 * 2**20 / 4e6


def elsewhere_on_rank():
    with mock.patch("week04_large_models.traffic.sys.platform", "darwin"):
        with Sockets() as wire:
            dist.all_reduce(torch.ones(4))
        return math.isnan(wire.sent) and pace(1e6) == 0


def test_elsewhere_than_on_linux_nothing_is_counted_and_nothing_fails():
    assert launch.run(elsewhere_on_rank, 2) == [True, True]
