"""A block cut over ranks: the numbers of the whole block, two sums each way, and the bytes of the formulas."""

import pytest
import torch

from effdl import launch
from effdl.transformer import Config, Transformer
from week04_large_models import columns_rows

CONFIG = Config(length=16, width=32, heads=4, blocks=1)
BATCH = 3


def compare_in_double_on_rank(*arguments):
    torch.set_default_dtype(torch.float64)
    return columns_rows.compare_on_rank(*arguments)


@pytest.fixture(scope="module", params=[(2, False), (2, True), (4, False), (4, True)], ids=str)
def cut(request):
    """(ranks, sequence, what each rank found)."""
    ranks, sequence = request.param
    found = launch.run(compare_in_double_on_rank, ranks, args=(CONFIG, BATCH, sequence))
    return ranks, sequence, found


@pytest.mark.parametrize("what", ["output", "input gradient", "weight gradients"])
def test_every_rank_has_the_numbers_of_the_whole_block(cut, what):
    # Sums of at most 128 terms, of numbers below 100, round by 128 * 100 * 2**-53 = 1.4e-12.
    assert max(found[what] for found in cut[2]) < 2e-12


def test_two_sums_forward_and_two_backward_and_not_one_more(cut):
    _, sequence, found = cut
    if sequence:
        forward = {"reduce_scatter": 2, "allgather": 2}
        backward = {"reduce_scatter": 2, "allgather": 4}  # two of them gather the inputs again
    else:
        forward = backward = {"allreduce": 2}
    assert [f["forward"] for f in found] == [forward] * len(found)
    assert [f["backward"] for f in found] == [backward] * len(found)


def test_forward_calls_for_the_same_bytes_with_and_without_the_sequence_cut(cut):
    ranks, sequence, found = cut
    formula = columns_rows.bytes_sent(BATCH * CONFIG.length, CONFIG.width, ranks, itemsize=8)
    for rank in found:
        assert rank["formula forward"] == pytest.approx(formula)
        assert rank["formula backward"] == pytest.approx(formula * (1.5 if sequence else 1))
        # What the kernel counts is that and headers, and more where gloo scatters.
        assert rank["sent forward"] >= formula
        assert sequence or rank["sent forward"] <= 1.1 * formula + 4000


def saved_bytes(config, batch, ranks, sequence, itemsize):
    """What a rank saves of one block for the backward pass: the formula for `ParallelBlock`.

    With t tokens of width h. Outside of the cuts 4 t h, the inputs of two norms and of two column layers, and 4 t
    for the norms' means and scales. Inside 12 t h: query, key, value, mixed heads, inner units before and after
    GELU; and the softmax of every head. Every rank has its own mask.
    """
    tokens, mask = batch * config.length, config.length**2
    outside = 4 * tokens * config.width + 4 * tokens
    inside = 12 * tokens * config.width + tokens * config.heads * config.length
    return itemsize * (outside / (ranks if sequence else 1) + inside / ranks) + mask


def test_saved_bytes_are_the_formula(cut):
    ranks, sequence, found = cut
    expected = saved_bytes(CONFIG, BATCH, ranks, sequence, itemsize=8)
    assert {rank["saved"] for rank in found} == {expected}


def both_ways_on_rank():
    """A block's gradients when its column layers wait for their sums, and when they compute meanwhile."""
    found = []
    for hide in (False, True):
        columns_rows.Columns.hide = hide
        part = columns_rows.ParallelBlock(Transformer(CONFIG).blocks[0])
        x = torch.ones(2, CONFIG.length, CONFIG.width).cumsum(1).requires_grad_()
        part(x).square().sum().backward()
        found.append([x.grad, *(p.grad for p in part.parameters())])
    return max(float((a - b).abs().max()) for a, b in zip(*found, strict=True))


def test_a_sum_that_is_hidden_is_the_same_sum():
    assert launch.run(both_ways_on_rank, 2) == [0, 0]


def test_backward_passes_are_timed_in_both_ways():
    found = launch.run(columns_rows.hidden_sums_on_rank, 2, args=(CONFIG, 1, 1e9, 3))
    assert all(set(rank) == {"waits", "computes meanwhile"} for rank in found)
    assert all(len(times) == 3 and min(times) > 0 for rank in found for times in rank.values())


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(launch.LaunchError, match="4 heads do not divide among 3 ranks"):
        launch.run(columns_rows.compare_on_rank, 3, args=(CONFIG, BATCH, False))
