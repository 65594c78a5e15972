"""Experts: the gate's places and weights, and the same numbers in one process and spread over ranks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effdl import launch
from effdl.transformer import Config
from week04_large_models import experts


@given(st.integers(1, 40), st.integers(2, 6), st.integers(1, 12), st.integers(0, 99))
def test_no_two_tokens_share_a_place_and_first_choices_come_first(tokens, count, capacity, seed):
    logits = torch.randn(tokens, count, generator=torch.Generator().manual_seed(seed))
    routing = experts.route(logits, capacity)
    for expert in range(count):
        chosen = routing.experts == expert
        slots = routing.slots[chosen]
        assert sorted(slots.tolist()) == list(range(len(slots)))
        first, second = (routing.slots[:, k][chosen[:, k]].tolist() for k in (0, 1))
        assert max(first, default=-1) < min(second, default=tokens)
    assert (routing.experts[:, 0] != routing.experts[:, 1]).all()


@given(st.integers(1, 40), st.integers(2, 6), st.integers(1, 12), st.integers(0, 99))
def test_weights_add_up_to_one_unless_a_choice_was_dropped(tokens, count, capacity, seed):
    logits = torch.randn(tokens, count, generator=torch.Generator().manual_seed(seed))
    routing = experts.route(logits, capacity)
    total = routing.weights.sum(1)
    assert torch.allclose(total[routing.kept.all(1)], torch.ones(()))
    assert (routing.weights[~routing.kept] == 0).all()
    assert (total <= 1 + 1e-6).all()


def test_balance_loss_is_one_for_an_even_load_and_the_number_of_experts_for_one_only():
    even, one = 20 * torch.eye(4), torch.tensor([[40.0, 20.0, 0.0, 0.0]] * 8)
    assert experts.route(even, 8).balance == pytest.approx(1, abs=1e-4)
    assert experts.route(one, 8).balance == pytest.approx(4, abs=1e-4)


def test_balance_loss_pushes_the_gate_away_from_the_crowded_expert():
    logits = torch.tensor([[2.0, 1.0, 0.0]] * 6, requires_grad=True)
    experts.route(logits, 8).balance.backward()
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1:] < 0).all()


@given(st.integers(1, 30), st.integers(2, 5), st.integers(0, 99))
def test_with_room_for_all_the_layer_is_the_dense_computation(tokens, count, seed):
    layer = experts.MixtureOfExperts(8, 12, count, factor=count, seed=seed)
    x = torch.randn(tokens, 8, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(layer(x), layer.dense(x), atol=1e-5)


def test_a_token_without_room_gets_nothing():
    layer = experts.MixtureOfExperts(8, 12, 2, factor=0.5)
    y = layer(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)))
    lost = ~layer.routing.kept.any(1)
    assert lost.any()
    assert not lost.all()
    assert (y[lost] == 0).all()
    assert (y[~lost].abs().sum(1) > 0).all()


@pytest.mark.parametrize(("ranks", "factor"), [(2, 4.0), (2, 0.75), (4, 1.25)])
def test_spread_over_ranks_the_numbers_are_those_of_one_process(ranks, factor):
    width, count, tokens = 16, 4, 24
    for found in launch.run(experts.compare_on_rank, ranks, args=(width, 32, count, tokens, factor)):
        for what in experts.COMPARED:
            assert found[what] < 1e-5
        assert found["forward"] == found["backward"] == {"alltoall": 2}
        formula = experts.bytes_sent(width, count, tokens, factor, ranks)
        assert found["by formula"] == formula
        assert formula <= found["sent"] <= formula + 8000  # headers and barriers
        assert (found["dropped"] > 0) == (factor < 1)


def test_experts_that_do_not_divide_are_refused():
    with pytest.raises(launch.LaunchError, match="3 experts do not divide among 2 ranks"):
        launch.run(experts.compare_on_rank, 2, args=(8, 8, 3, 4, 1.0))
    with pytest.raises(ValueError, match="at least 2"):
        experts.MixtureOfExperts(8, 8, 1)


def test_training_with_a_balance_loss_spreads_the_load():
    config = Config(length=16, width=16, heads=2, blocks=1)
    alone, balanced = (experts.train(4, weight, 40, config, batch=8) for weight in (0.0, 0.2))
    assert sum(balanced.busiest[-10:]) < sum(alone.busiest[-10:])
    assert sum(balanced.dropped[-10:]) < sum(alone.dropped[-10:])
    assert balanced.losses[-1] < balanced.losses[0]


def test_experts_learn_a_task_of_many_kinds_better_than_one_mlp_of_the_same_arithmetic():
    one = torch.nn.Sequential(torch.nn.Linear(32, 128), torch.nn.GELU(), torch.nn.Linear(128, 32))
    alone = experts.fit_pieces(one, 120)
    several = experts.fit_pieces(experts.MixtureOfExperts(32, 64, 8), 120)
    assert sum(several[-10:]) < 0.7 * sum(alone[-10:])


@given(st.integers(1, 30), st.integers(2, 5), st.integers(0, 99))
def test_a_dropless_layer_is_the_dense_computation(tokens, count, seed):
    layer = experts.Dropless(8, 12, count, seed=seed)
    x = torch.randn(tokens, 8, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(layer(x), layer.dense(x), atol=1e-5)
    assert layer.routing.kept.all()


def test_a_shared_expert_answers_every_token():
    torch.manual_seed(0)
    layer = experts.Dropless(8, 12, 3, shared=16)
    x = torch.randn(5, 8)
    assert torch.allclose(layer(x), layer.dense(x) + layer.always(x), atol=1e-5)


def test_a_bias_changes_the_choice_and_not_the_weights():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    gates = logits.softmax(-1)[0]
    plain = experts.choose(logits, torch.zeros(3))
    moved = experts.choose(logits, torch.tensor([-1.0, 0.0, 0.0]))
    assert plain.experts.tolist() == [[0, 1]]
    assert moved.experts.tolist() == [[1, 2]]
    assert torch.allclose(moved.weights[0], gates[1:] / gates[1:].sum())


def test_the_bias_moves_towards_the_idle_and_only_in_training():
    layer = experts.Dropless(2, 4, 3, rate=0.1)
    layer.gate.data = torch.tensor([[3.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    x = torch.tensor([[1.0, 0.0]] * 6)
    layer.eval()(x)
    assert layer.bias.tolist() == [0, 0, 0]
    layer.train()(x)
    assert layer.bias.tolist() == pytest.approx([-0.1, -0.1, 0.1])


@pytest.mark.parametrize("ranks", [2, 4])
def test_dropless_experts_on_ranks_have_the_numbers_of_one_process_and_send_no_padding(ranks):
    case = (16, 32, 4, 24, 2.0)
    padded = launch.run(experts.compare_on_rank, ranks, args=case)
    found = launch.run(experts.compare_on_rank, ranks, args=(*case, True))
    for rank in found:
        assert max(rank[what] for what in experts.COMPARED) < 1e-5
        assert rank["forward"] == {"alltoall": 3}  # of counts, of tokens, of answers
        assert rank["dropped"] == 0
    assert sum(rank["worked"] for rank in found) == ranks * 2 * 24
    assert sum(rank["sent"] for rank in found) < sum(rank["sent"] for rank in padded)


def test_training_with_a_bias_spreads_the_load():
    config = Config(length=16, width=16, heads=2, blocks=1)
    alone, balanced = (experts.train(4, 0.0, 40, config, batch=8, bias=rate) for rate in (0.0, 0.02))
    assert sum(balanced.busiest[-10:]) < sum(alone.busiest[-10:])
    assert balanced.dropped == [0] * 40
