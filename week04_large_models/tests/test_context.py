"""Attention over a cut sequence: the numbers of the whole, the bytes, the balance."""

import pytest
import torch

from effdl import launch
from week04_large_models import context


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_both_orders_of_a_ring_give_whole_attention(ranks):
    # Ulysses needs heads that divide: 12 do.
    for found in launch.run(context.compare_on_rank, ranks, args=(48, 12, 8)):
        for name in context.WAYS:
            assert found[name]["output"] < 1e-5
            assert found[name]["gradients"] < 1e-5
        for name in ("ring, zig-zag", "Ulysses"):
            assert found[name]["tiles"] == 2 * ranks + 1


def test_bytes_of_ring_and_ulysses_are_those_of_the_formulas():
    ranks, length, heads, size, batch = 4, 256, 4, 16, 2
    tensor = 4 * batch * heads * length * size / ranks  # a rank's part of one of q, k, v
    for found in launch.run(context.compare_on_rank, ranks, args=(length, heads, size)):
        ring, ulysses = found["ring, zig-zag"], found["Ulysses"]
        assert ring["sent forward"] == pytest.approx(2 * (ranks - 1) * tensor, abs=6000)
        assert ring["sent backward"] == pytest.approx((4 * (ranks - 1) + 2) * tensor, abs=6000)
        for way in ("forward", "backward"):
            assert ulysses[f"sent {way}"] == pytest.approx(4 * (ranks - 1) / ranks * tensor, abs=6000)


@pytest.mark.parametrize("ranks", [1, 2, 5, 8])
def test_zig_zag_gives_all_ranks_the_same_tiles_and_every_chunk_to_one(ranks):
    for order in context.ORDERS.values():
        chunks = [chunk for rank in range(ranks) for chunk in order(rank, ranks)]
        assert sorted(chunks) == list(range(2 * ranks))
    assert {context.tiles(rank, ranks, context.zig_zag) for rank in range(ranks)} == {2 * ranks + 1}
    assert context.tiles(ranks - 1, ranks, context.in_order) == 4 * ranks - 1


def refused_on_rank():
    q = torch.ones(1, 3, 4, 8)
    with pytest.raises(ValueError, match="3 heads do not divide among 2 ranks"):
        context.ulysses(q, q, q)
    return True


def test_ulysses_refuses_heads_that_do_not_divide():
    assert launch.run(refused_on_rank, 2) == [True, True]


def test_the_products_that_run_are_those_of_the_tiles():
    ranks, length, heads, size = 4, 64, 2, 8
    tile = 2 * 2 * heads * (length // (2 * ranks)) ** 2 * size  # scores, and their product with the values
    for rank, found in enumerate(launch.run(context.work_on_rank, ranks, args=(length, heads, size))):
        for name, order in context.ORDERS.items():
            assert found[name] == tile * context.tiles(rank, ranks, order)
