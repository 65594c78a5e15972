"""Factors that are not the best of their rank, attention that changes with how its keys are shared."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from week08_compress_models import cheap_layers, macs


def test_layers_that_replace_a_convolution_keep_its_shape():
    x = torch.rand(2, 16, 6, 6)
    assert {tuple(layer(x).shape) for layer in cheap_layers.convolutions(16).values()} == {(2, 16, 6, 6)}


def test_at_the_break_even_rank_both_cost_the_same():
    layer, x = nn.Linear(96, 48, bias=False), torch.rand(3, 96)
    even = cheap_layers.break_even(48, 96)
    assert even == 32
    assert macs.count_macs(cheap_layers.two_thin(48, 96, 32), x) == macs.count_macs(layer, x)


def test_full_rank_is_exact_with_and_without_inputs():
    layer, x = nn.Linear(20, 12, bias=False), torch.rand(50, 20)
    for known in (None, x):
        assert torch.allclose(cheap_layers.low_rank(layer, 12, known)(x), layer(x), atol=1e-4)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_each_way_is_best_by_its_own_measure(rank):
    generator = torch.Generator().manual_seed(rank)
    weight = torch.randn(16, 24, generator=generator)
    x = torch.randn(200, 24, generator=generator) * torch.logspace(-1, 1, 24)
    products = [a @ b for a, b in (cheap_layers.factors(weight, rank, known) for known in (None, x))]
    by_weight = [(p - weight).norm() for p in products]
    by_output = [(x @ (p - weight).T).norm() for p in products]
    assert by_weight[0] < by_weight[1]
    assert by_output[1] < by_output[0]
    singular = torch.linalg.svdvals(weight)
    assert by_weight[0].item() == pytest.approx(singular[rank:].square().sum().sqrt().item(), rel=1e-4)


def test_three_ways_to_share_keys_are_one_function():
    query, keys, values = torch.rand(2, 8, 1, 4), torch.rand(2, 2, 7, 4), torch.rand(2, 2, 7, 4)
    expected = F.scaled_dot_product_attention(query, keys, values, enable_gqa=True)
    for way in (cheap_layers.grouped, cheap_layers.repeated):
        assert torch.allclose(way(query, keys, values), expected, atol=1e-6)
