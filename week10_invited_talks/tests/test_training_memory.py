"""The first companion: encodings that give back what they got, gradients that stay, arithmetic that adds up."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from week10_invited_talks import footprint, host_memory, scoring


@given(st.lists(st.booleans(), max_size=70))
def test_bits_come_back_whatever_their_number(values):
    mask = torch.tensor(values, dtype=torch.bool)
    packed = footprint.pack_bits(mask)
    assert packed.numel() == -(-len(values) // 8)
    assert torch.equal(footprint.unpack_bits(packed, mask.shape), mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6))
def test_sparse_maps_come_back_to_the_bit(seed, rows, columns):
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).relu()
    assert torch.equal(footprint.Sparse(x).tensor(), x)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 4, 3)])
def test_a_rounded_map_is_off_by_half_a_step_at_most(bits, shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 3
    kept = footprint.Reduced(x, bits)
    step = 2**-9 if bits == 16 else float(x.max()) / (2**bits - 1)
    assert float((kept.tensor() - x).abs().max()) <= 0.5001 * step
    if bits == 4:
        assert kept.values.numel() == -(-x.numel() // 2)


def test_a_width_that_nobody_packs_is_refused():
    with pytest.raises(ValueError, match="bits=5"):
        footprint.Reduced(torch.ones(3), 5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_pooling_gives_each_gradient_to_the_place_it_came_from(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 2, 4, 6, generator=generator, requires_grad=True)
    ours, theirs = footprint.PoolOfPlaces.apply(x), F.max_pool2d(x, 2)
    assert torch.equal(ours, theirs)
    weights = torch.randn(ours.shape, generator=generator)
    (mine,) = torch.autograd.grad((ours * weights).sum(), x)
    (right,) = torch.autograd.grad((theirs * weights).sum(), x)
    assert torch.equal(mine, right)


def test_a_net_of_encodings_learns_what_an_ordinary_one_learns():
    x, y, gradients = torch.randn(8, 3, 16, 16), torch.randint(0, 10, (8,)), []
    for gist in (False, True):
        torch.manual_seed(0)
        net = footprint.network([8, 8], 16, gist=gist)
        with footprint.encoded(footprint.Sparse, at_least=1 if gist else 1 << 40):
            loss = F.cross_entropy(net(x), y)
        gradients.append(torch.autograd.grad(loss, list(net.parameters())))
    for mine, right in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, right)


@pytest.mark.parametrize("again", ["scores", "steps"])
def test_what_is_computed_again_changes_no_gradient(again):
    inputs, states, gradients = torch.randn(3, 4, 8), torch.randn(3, 5, 8), []
    for which in ("nothing", again):
        torch.manual_seed(0)
        decoder = scoring.Decoder(8, which)
        loss = decoder(inputs, states).square().sum()
        gradients.append(torch.autograd.grad(loss, list(decoder.parameters())))
    for mine, right in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, right)


def test_a_decoder_refuses_a_word_it_does_not_know():
    with pytest.raises(ValueError, match="again='all'"):
        scoring.Decoder(8, "all")


def test_the_arithmetic_of_offloading_adds_up_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(), nn.MaxPool2d(2))
    conv, pool = host_memory.layers(net.to("meta"), 5, 4)
    assert (conv.inward, conv.outward, conv.flops) == (4 * 5 * 3 * 16, 4 * 5 * 2 * 16, 2 * 5 * 2 * 16 * 3)
    assert (pool.inward, pool.outward) == (conv.outward, conv.outward // 4)
    found = host_memory.footprint([conv, pool])
    assert found.all_kept == conv.inward + conv.outward + pool.outward + 2 * conv.outward
    assert found.largest == 2 * conv.inward + conv.outward
    assert 0 < found.average < found.largest
