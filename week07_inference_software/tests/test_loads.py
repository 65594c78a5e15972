"""Loads have the lengths that they promise, and each comparison runs the same requests in both of its ways."""

import numpy as np
import pytest
import torch

from week07_inference_software import loads, one_answer
from week07_inference_software.engine import Config, Engine, Invariant, Llama, Request, Scheduler, Usual
from week07_inference_software.engine.engine import StepClock
from week07_inference_software.engine.model import BLOCK, random_weights

CONFIG = Config(vocabulary=64, width=32, layers=1, heads=2, groups=1, inner=32)
MODEL = Llama(CONFIG, random_weights(CONFIG))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_mean_of_the_longest_of_exponential_lengths_is_the_harmonic_sum():
    lengths = np.random.default_rng(0).exponential(1, (20_000, 32))
    assert lengths.max(1).mean() == pytest.approx(loads.harmonic(32), rel=0.01)


def test_a_padded_batch_writes_as_long_as_its_longest():
    asked = [Request([1], new) for new in (3, 9, 2, 5, 1)]
    assert [r.new for r in loads.padded(asked, 2)] == [9, 9, 5, 5, 1]


def test_without_a_cache_come_the_same_tokens():
    prompt = loads.prompts(1, (20, 20), 64)[0]
    assert [loads.without_cache(MODEL, prompt, 20)] == Engine(MODEL, 8).run([Request(prompt, 20)]).answers


def test_waste_counts_what_a_block_holds_beyond_the_tokens():
    report = Engine(MODEL, 8, clock=StepClock()).run(
        [Request([1] * 10, 8), Request([2] * 10, 24)]
    )  # 17 and 33
    reserved, paged = loads.waste(report, 100, BLOCK)
    assert reserved == pytest.approx(1 - 50 / 200)
    assert paged == pytest.approx(1 - 50 / 80)


def test_forked_answers_need_fewer_blocks_than_separate_ones():
    found = loads.blocks_of_answers(MODEL, loads.prompts(1, (40, 40), 64)[0], 3, 8)
    assert found["one request, forked"] == 2 + 3
    assert found["separate requests"] == 3 * 3


def test_a_rehearsed_draft_is_right_as_often_as_it_is_told():
    whole = [list(range(10, 60))]
    guess = loads.rehearsed(whole, 0.7, 64)
    right = [guess(whole[0][:9], 4)[n] == 19 + n for _ in range(500) for n in range(4)]
    assert np.mean(right) == pytest.approx(0.7, abs=0.05)
    assert loads.rehearsed(whole, 0.7, 64)([1, 2], 4) == []


def test_a_step_writes_what_the_formula_says():
    seen = loads.tokens_of_a_step(MODEL, loads.equal(12, 120, 64), 0.7, 4)
    assert seen == pytest.approx(loads.expected_tokens(0.7, 4), rel=0.1)


def test_arrivals_come_at_the_rate_that_was_asked_for():
    asked = loads.poisson(loads.equal(2000, 1, 64), rate=0.5)
    assert asked[-1].arrival == pytest.approx(4000, rel=0.1)


def test_every_kernel_gets_the_same_orders():
    texts = loads.prompts(5, (3, 9), 64)
    first, second = (list(one_answer.orders(20, texts, 3, 4)) for _ in range(2))
    assert [(s.budget, s.most, who) for s, _, who in first] == [
        (s.budget, s.most, who) for s, _, who in second
    ]
    assert [[r.arrival for r in asked] for _, asked, _ in first] == [
        [r.arrival for r in asked] for _, asked, _ in second
    ]


def test_sixty_orders_give_one_answer_and_one_sequence_of_logits_each():
    model = Llama(one_answer.SMALL, random_weights(one_answer.SMALL))
    texts, _ = one_answer.prompts(ties=3, others=3)
    invariant = one_answer.ask(model, Invariant(8), texts, 60)
    assert invariant.different() == invariant.different_logits() == 6
    assert len(invariant.batches) == invariant.orders == 60


def test_answers_that_differ_are_counted():
    class Careless(Usual):
        def by_rows(self, function, x):
            return function(x + 0.1 * len(x))

    texts = loads.prompts(4, (3, 9), one_answer.SMALL.vocabulary)
    model = Llama(one_answer.SMALL, random_weights(one_answer.SMALL))
    found = one_answer.ask(model, Careless(), texts, 20)
    assert found.different_logits() > 4
    assert found.different() > 4


def test_near_ties_are_near():
    texts, gaps = one_answer.prompts(ties=4, others=0)
    model = Llama(one_answer.SMALL, random_weights(one_answer.SMALL))
    for text, gap in zip(texts, gaps, strict=True):
        seen = []
        engine = Engine(model, 8, watch=lambda _, logits, seen=seen: seen.append(logits.topk(2).values))
        engine.run([Request(text, 1)])
        assert gap < 3e-6
        assert float(seen[0][0] - seen[0][1]) < 2e-5


def test_a_gap_between_tokens_is_seen_where_a_prompt_goes_first():
    ways = {"first": {"budget": 64, "decode_first": False}, "chunks": {"budget": 16, "most": 9}}
    found = loads.stalls(MODEL, ways, 100, repeats=1)
    assert set(found) == set(ways)
    assert all(value > 0 for pair in found.values() for value in pair)


def test_more_rows_in_a_pass_are_timed_for_both_kinds():
    times = loads.passes(MODEL, (1, 4), pairs=2)
    assert set(times.timings) == {"decode, 1", "decode, 4", "prefill, 1", "prefill, 4"}


def test_what_shares_a_beginning_shares_it():
    asked = loads.common_beginning(3, 32, 4, 2, 64)
    assert len({tuple(r.prompt[:32]) for r in asked}) == 1
    report = Engine(MODEL, 32, scheduler=Scheduler(most=1), clock=StepClock()).run(asked)
    assert [s.shared for s in report.sequences] == [0, 32, 32]


def test_rows_round_in_one_way_where_the_function_is_by_element():
    row = torch.randn(8, generator=torch.Generator().manual_seed(0))
    assert one_answer.roundings(lambda x: x * 2, row, range(1, 9)) == 1
    assert one_answer.roundings(lambda x: x - x.mean(), row, range(1, 9)) == 8
