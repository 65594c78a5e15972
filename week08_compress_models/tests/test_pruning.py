"""Masks that keep the wrong weights, cut networks that are not parts of the whole, budgets that are missed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from week08_compress_models import macs, pruning, small_images
from week08_compress_models.distilling import Crowd


@pytest.fixture
def net():
    return small_images.made(lambda: small_images.convolutional(6, 5, 7), 3).eval()


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 1), everywhere=st.booleans())
def test_what_is_kept_is_at_least_as_large_as_what_goes(share, everywhere):
    net = small_images.made(lambda: small_images.convolutional(6, 5, 7), 3)
    tensors = pruning.weights(net)
    masks = pruning.by_magnitude(tensors, share, everywhere)
    groups = [list(tensors)] if everywhere else [[name] for name in tensors]
    for group in groups:
        kept = torch.cat([tensors[n][masks[n]].abs().flatten() for n in group])
        gone = torch.cat([tensors[n][~masks[n]].abs().flatten() for n in group])
        assert len(gone) == round(share * (len(kept) + len(gone)))
        if len(kept) and len(gone):
            assert kept.min() >= gone.max()


def test_magnitude_agrees_with_the_library():
    layer = nn.Linear(30, 20)
    ours = pruning.by_magnitude({"weight": layer.weight}, 0.7)["weight"]
    prune.l1_unstructured(layer, "weight", amount=0.7)
    assert torch.equal(layer.weight_mask.bool(), ours)


@pytest.mark.parametrize("shape", [(3, 8), (5, 4, 3, 3), (2, 16)])
def test_two_of_each_four_stay_and_they_are_the_largest(shape):
    weight = torch.randn(shape)
    fours = pruning.two_of_four(weight).flatten(1).view(-1, 4)
    sizes = weight.abs().flatten(1).view(-1, 4)
    assert (fours.sum(1) == 2).all()
    assert (sizes.masked_fill(~fours, 9).amin(1) >= sizes.masked_fill(fours, 0).amax(1)).all()


def test_rows_that_do_not_divide_into_fours_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        pruning.two_of_four(torch.randn(2, 6))


def test_the_formula_of_macs_is_the_counter_of_the_network(net):
    counted = macs.count_macs(net, torch.rand(1, 1, 8, 8))
    assert int(pruning.macs_of(*map(torch.tensor, (6, 5, 7)))) == counted


def test_every_budget_that_some_network_costs_is_met_exactly_and_others_are_named(net):
    for channels in ((1, 1, 1), (3, 4, 5), (6, 5, 7)):
        budget = int(pruning.macs_of(*map(torch.tensor, channels)))
        small = pruning.cut(net, pruning.to_budget(net, budget))
        assert macs.by_flop_counter(lambda s=small: s(torch.rand(1, 1, 8, 8))) == budget
    with pytest.raises(ValueError, match="the next below is"):
        pruning.to_budget(net, budget - 1)


def test_a_cut_network_is_the_whole_one_without_its_other_channels(net):
    small, x = pruning.cut(net, (4, 3, 5)), torch.rand(3, 1, 8, 8)
    layers = [m for m in net if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for layer, importance, kept in zip(layers, pruning.importances(net), (4, 3, 5), strict=True):
            gone = importance.argsort(descending=True)[kept:]
            layer.weight[gone], layer.bias[gone] = 0, 0
        assert torch.allclose(small(x), net(x), atol=1e-5)


def test_what_is_pruned_stays_zero_while_training_goes_on(net):
    masks = pruning.by_magnitude(pruning.weights(net), 0.6)
    tuned = pruning.tuned(net, masks, 3, 0)
    for name, weight in pruning.weights(tuned).items():
        assert (weight[~masks[name]] == 0).all()
    assert pruning.sparsity(pruning.weights(pruning.gradually(net, 0.6, 30, 0)).values()) == pytest.approx(
        0.6, abs=0.01
    )


def test_masks_of_a_crowd_keep_a_share_in_each_network_and_only_shrink():
    crowd = Crowd((64, 12, 10), 3)
    crowd.masks = pruning.crowd_masks(crowd, 0.5)
    narrower = pruning.crowd_masks(crowd, 0.2)
    total = 64 * 12 + 12 * 10
    for network in range(3):
        assert sum(int(m[network].sum()) for m in narrower) == round(0.2 * total)
    assert all((n <= m).all() for n, m in zip(narrower, crowd.masks, strict=True))
    moved = pruning.shuffled(narrower, 0)
    assert all(torch.equal(a.sum((1, 2)), b.sum((1, 2))) for a, b in zip(moved, narrower, strict=True))
