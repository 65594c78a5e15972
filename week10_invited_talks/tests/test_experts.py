"""Routing to many experts: nothing is lost, nothing is done twice, and the bias moves the choice alone."""

import math

import pytest
import torch

from week10_invited_talks import expert_language, routing


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def drawn(seed, tokens=40, width=8, inner=8, count=12, k=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, width, generator=generator)
    scores = torch.randn(tokens, count, generator=generator).sigmoid()
    return routing.Experts(width, inner, count, seed), x, scores, routing.choose(scores, k)


@pytest.mark.parametrize("seed", range(10))
def test_weights_sum_to_one_and_no_token_has_an_expert_twice(seed):
    _, _, _, (experts, weights) = drawn(seed)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert all(len(set(row)) == 3 for row in experts.tolist())


@pytest.mark.parametrize("seed", range(10))
def test_the_bias_moves_the_choice_and_not_the_weights(seed):
    _, _, scores, _ = drawn(seed)
    bias = torch.zeros(12)
    bias[5] = 100
    experts, weights = routing.choose(scores, 3, bias)
    assert (experts == 5).any(1).all()
    picked = scores.gather(1, experts)
    torch.testing.assert_close(weights, picked / picked.sum(1, keepdim=True))


@pytest.mark.parametrize("seed", range(10))
def test_all_ways_answer_as_the_specification_in_values_and_gradients(seed):
    layer, x, _, (experts, weights) = drawn(seed)
    expected = layer.dense(x, experts, weights)
    towards = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    assert expected.std() > 0.05
    gradients = torch.autograd.grad((expected * towards).sum(), list(layer.parameters()))
    for way in (layer.looped, layer.grouped, lambda *a: layer.padded(*a, 12.0)):
        found = way(x, experts, weights)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        theirs = torch.autograd.grad((found * towards).sum(), list(layer.parameters()))
        torch.testing.assert_close(theirs, gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_every_token_is_computed_k_times(seed):
    layer, x, _, (experts, _) = drawn(seed)
    ones = torch.ones(experts.shape)
    with torch.no_grad():
        layer.up.fill_(0)
        layer.up[:, 0] = 100  # answers that are the same whoever gives them
        layer.down.fill_(0)
        layer.down[:, 0, 0] = 0.01
    x = torch.zeros_like(x)
    x[:, 0] = 1.0
    torch.testing.assert_close(layer.grouped(x, experts, ones)[:, 0], torch.full((len(x),), 3.0))


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_tokens_does_not_matter_without_a_capacity(seed):
    layer, x, _, (experts, weights) = drawn(seed)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        layer.grouped(x[order], experts[order], weights[order]), layer.grouped(x, experts, weights)[order]
    )


def test_experts_without_tokens_get_no_gradient():
    layer, x, _, _ = drawn(0)
    experts = torch.tensor([[0, 11]]).expand(len(x), 2)
    layer.grouped(x, experts, torch.full(experts.shape, 0.5)).square().sum().backward()
    assert layer.up.grad[1:11].abs().max() == 0
    assert layer.up.grad[[0, 11]].abs().amin((1, 2)).shape == (2,)
    assert layer.up.grad[0].abs().max() > 0


def test_a_capacity_drops_what_stands_behind():
    layer, x, _, _ = drawn(0)
    experts = torch.zeros(len(x), 1, dtype=torch.long)
    answer = layer.padded(x, experts, torch.ones(len(x), 1), 3.0)  # room for 10 of 40
    assert answer[:10].abs().amax(1).min() > 0
    assert answer[10:].abs().max() == 0


@pytest.mark.parametrize(("skew", "factor"), [(0.0, 1.0), (0.5, 1.25), (1.0, 2.0), (2.0, 4.0)])
def test_the_bill_of_a_capacity_balances(skew, factor):
    experts = routing.skewed(512, 32, 4, skew)
    dropped, empty = routing.capacity_bill(experts, 32, factor)
    places = 32 * math.ceil(factor * experts.numel() / 32)
    assert math.isclose((1 - dropped) * experts.numel(), (1 - empty) * places)
    loads = experts.flatten().bincount(minlength=32)
    assert (dropped == 0) == (int(loads.max()) * 32 <= places)


def test_limited_routing_stays_on_its_nodes_and_takes_the_best_there():
    scores = torch.rand(200, 64, generator=torch.Generator().manual_seed(0))
    experts = routing.choose_near(scores, 8, 8, 4)
    assert all(len({e // 8 for e in row}) <= 4 and len(set(row)) == 8 for row in experts.tolist())
    free = routing.choose_near(scores, 8, 8, 8).sort(1).values
    assert torch.equal(free, scores.topk(8).indices.sort(1).values)


def test_copies_that_leave_a_node():
    experts = torch.tensor(
        [[0, 1, 2, 6], [0, 1, 4, 5]]
    )  # nodes 0 0 1 3 from home 0; nodes 0 0 2 2 from home 1
    assert routing.nodes_of_others(experts, 8, 4).tolist() == [[2.0, 4.0], [2.0, 2.0]]


def test_drawn_choices_touch_as_many_experts_as_the_formula_says():
    for batch in (1, 8, 64):
        shares = [routing.touched(routing.skewed(batch, 64, 4, 0.0, seed), 64) for seed in range(200)]
        assert abs(sum(shares) / 200 - routing.expected_touched(64, 4, batch)) < 0.02


def test_signs_balance_a_skewed_router_and_wrong_signs_do_not():
    assert routing.settle(lambda b, n, r: b + r * (n.mean() - n).sign()) < 1.5
    assert routing.settle(lambda b, n, r: b - r * (n.mean() - n).sign()) > 2.5
    assert routing.settle(lambda b, n, r: b) > 2.5


@pytest.mark.parametrize("layout", [(8, 1, 0), (32, 4, 0), (31, 3, 1)])
def test_layouts_use_as_many_weights_for_a_token(layout):
    layout = expert_language.Layout(*layout)
    layer = expert_language.Layer(layout, 0.01, 0)
    one = layer.routed.up[0].numel() + layer.routed.down[0].numel()
    always = 0 if layer.always is None else layer.always.up.numel() + layer.always.down.numel()
    assert layout.k * one + always == 2 * 32 * expert_language.ACTIVE


def test_training_moves_the_bias_only_where_asked():
    for rate in (0.0, 0.01):
        trained = expert_language.train(expert_language.Layout(8, 2), 0, 3, rate)
        assert bool(trained.model.blocks[0].mlp.bias.any()) == bool(rate)
        assert math.isfinite(trained.loss)


def test_two_at_a_time_each_run_and_seed_gets_the_training_that_it_has_alone():
    runs = {"one MLP": (None, 0.0, 0.0), "experts": (expert_language.Layout(4, 2), 0.01, 0.1)}
    found = expert_language.train_all(runs, range(3), steps=2)
    for name, (layout, rate, auxiliary) in runs.items():
        alone = [expert_language.train(layout, seed, 2, rate, auxiliary).loss for seed in range(3)]
        assert [one.loss for one in found[name]] == pytest.approx(alone, abs=1e-6)
        assert len(set(alone)) == 3
