"""Checkpointing plans: executed, predicted, and the best of them against all there are."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from effdl import memory
from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models import plans

RULES = {
    "plain": plans.plain,
    "every block": plans.every,
    "every second": lambda n: plans.every(n, 2),
    "square root": plans.square_root,
    "halving": plans.halving,
}


def transformer_chain(dropout=0.0):
    model = Transformer(Config(width=32, blocks=6, length=32, heads=2, dropout=dropout))
    tokens, targets = text_batch(0, 8, 32)
    chain = [*model.chain, lambda logits: next_token_loss(logits, targets)]
    plans.prepare(chain)
    return model, chain, tokens


def gradients(model):
    found = [p.grad.clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad.zero_()
    return found


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("rule", RULES)
def test_a_plan_changes_neither_loss_nor_gradients_nor_the_random_state(rule, dropout):
    model, chain, tokens = transformer_chain(dropout)
    torch.manual_seed(1)
    loss = chain[-1](model(tokens))
    loss.backward()
    expected, state = gradients(model), torch.get_rng_state()
    torch.manual_seed(1)
    assert plans.step(chain, RULES[rule](len(chain)), tokens) == loss.detach()
    for ours, theirs in zip(gradients(model), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


def test_step_refuses_a_plan_that_leaves_a_module_out():
    _, chain, tokens = transformer_chain()
    with pytest.raises(ValueError, match="each once and in order"):
        plans.step(chain, (0, (2,), 1, *range(3, len(chain))), tokens)


@pytest.mark.parametrize("rule", RULES)
def test_peak_and_repeated_work_are_as_predicted(rule):
    _, chain, tokens = transformer_chain()
    costs = plans.costs(chain, tokens)
    plan = RULES[rule](len(chain))
    plans.step(chain, plan, tokens)
    measured = memory.measure(plans.step, chain, plan, tokens).peak
    assert plans.peak(plan, costs) == pytest.approx(measured, rel=0.05)
    spent = {}
    for name, executed in (("plain", plans.plain(len(chain))), ("plan", plan)):
        with FlopCounterMode(display=False) as counter:
            plans.step(chain, executed, tokens)
        spent[name] = counter.get_total_flops()
    assert spent["plan"] - spent["plain"] == plans.again(plan, costs)


@pytest.mark.parametrize("rule", RULES)
def test_visits_are_the_runs_of_the_modules(rule):
    seen = []

    class Watched(nn.Module):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def forward(self, x):
            seen.append(("forward", self.number))
            x = x * 1.0
            if x.requires_grad:
                x.register_hook(lambda _: seen.append(("backward", self.number)))
            return x

    chain = [*(Watched(i) for i in range(6)), lambda x: x.sum()]
    plans.step(chain, RULES[rule](7), torch.ones(3))
    assert seen == [visit for visit in plans.visits(RULES[rule](7)) if visit[1] < 6]


def all_plans(first, last, whole=True):
    """Every plan of the modules first to last - 1; without `whole`, none that puts all of them into one bracket."""
    if first == last:
        yield ()
        return
    for rest in all_plans(first + 1, last):
        yield (first, *rest)
    for middle in range(first + 1, last + whole):
        # A bracket right inside a bracket would compute the same once more for nothing, and never end.
        for inside, rest in itertools.product(all_plans(first, middle, False), all_plans(middle, last)):
            yield (inside, *rest)


@st.composite
def chains(draw, most=4):
    chain = []
    for _ in range(draw(st.integers(1, most))):
        output = draw(st.integers(1, 5))
        kept = output + draw(st.integers(0, 9))
        both = kept + draw(st.integers(0, 5))
        chain.append(
            plans.Cost(output, kept, output + draw(st.integers(0, 4)), both, draw(st.integers(1, 3)))
        )
    return chain


@settings(deadline=None, max_examples=60)
@given(chains())
def test_no_plan_at_all_beats_the_optimal_ones(chain):
    choices = plans.optimal(chain)
    for choice in choices:
        assert plans.peak(choice.plan, chain) == choice.peak
        assert plans.again(choice.plan, chain) == choice.again
    for plan in all_plans(0, len(chain)):
        size, again = plans.peak(plan, chain), plans.again(plan, chain)
        assert any(c.peak <= size and c.again <= again for c in choices), (plan, size, again)


@settings(deadline=None, max_examples=30)
@given(chains(most=9))
def test_rules_are_never_below_the_optimum(chain):
    choices = plans.optimal(chain)
    for rule in RULES.values():
        plan = rule(len(chain))
        if plans.peak(plan, chain) >= choices[-1].peak:
            assert plans.best(choices, plans.peak(plan, chain)).again <= plans.again(plan, chain)
        else:
            raise AssertionError(f"{plan} needs less than any plan of the optimal ones")


def test_best_says_what_the_least_is():
    chain = [plans.Cost(1, 2, 1, 3, 1.0)] * 3
    choices = plans.optimal(chain)
    with pytest.raises(ValueError, match=f"the least is {choices[-1].peak}"):
        plans.best(choices, choices[-1].peak - 1)


def test_square_root_memory_doubles_when_the_depth_is_fourfold():
    peaks = plans.peaks_by_depth({"root": plans.square_root, "all": plans.plain}, (16, 64), 16, 256)
    assert peaks["root"][1] / peaks["root"][0] == pytest.approx(2, rel=0.2)
    assert peaks["all"][1] / peaks["all"][0] == pytest.approx(4, rel=0.2)


def test_selective_recomputes_attention_alone_and_gives_the_model_back():
    model, chain, tokens = transformer_chain()
    everything = plans.plain(len(chain))
    plans.step(chain, everything, tokens)
    whole, expected = memory.measure(plans.step, chain, everything, tokens).peak, None
    expected = gradients(model)
    with plans.selective(model):
        plans.step(chain, everything, tokens)
        plans.step(chain, everything, tokens)
        for ours, theirs in zip(gradients(model), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
        less = memory.measure(plans.step, chain, everything, tokens).peak
    scores = 4 * 8 * 2 * 32 * 32
    assert whole - less >= 5 * scores  # of six blocks; the last one's are needed at the peak
    assert "core" not in vars(model.blocks[0].attention)


def test_cost_refuses_a_module_that_keeps_more_than_its_peak():
    with pytest.raises(ValueError, match="no more than its peak"):
        plans.Cost(output=1, kept=9, forward=1, both=8, flops=1.0)


def test_layers_are_a_chain_of_equal_modules():
    chain = plans.layers(4, 8)
    assert sum(isinstance(module, nn.Module) for module in chain) == 3
    x = torch.randn(5, 8)
    for module in chain[:-1]:
        x = module(x)
    assert chain[-1](x).shape == ()


def test_compare_measures_each_plan_beside_its_prediction():
    _, chain, tokens = transformer_chain()
    costs = plans.costs(chain, tokens)
    named = {"all": plans.plain(len(chain)), "inputs": plans.every(len(chain))}
    runs = plans.compare(chain, named, tokens, costs)
    assert {name: run.plan for name, run in runs.items()} == named
    assert runs["all"].again == 0
    assert runs["inputs"].again == pytest.approx(1, abs=0.01)
    assert runs["inputs"].measured < 0.5 * runs["all"].measured
    for run in runs.values():
        assert run.predicted == pytest.approx(run.measured, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(chains(most=6))
def test_smallest_and_best_are_two_views_of_one_front(chain):
    choices = plans.optimal(chain)
    for choice in choices:
        assert plans.smallest(choices, choice.again) == plans.best(choices, choice.peak) == choice
