"""A rule that changes the distribution, a cache that mixes sequences, a draft that changes a greedy text."""

import pytest
import torch

from week08_compress_models import language_model as lm
from week08_compress_models import speculative, speculative_trials

SMALL = lm.Config(width=32, blocks=2, heads=4, kv_heads=2, hidden=48)


@pytest.fixture(scope="module")
def model():
    return lm.LanguageModel(SMALL, seed=1).eval()


@pytest.fixture(scope="module")
def prompts():
    return torch.randint(256, (3, 9), generator=torch.Generator().manual_seed(0))


class Peaked:
    """The model with sharper scores: a draft whose guesses stand sometimes."""

    def __init__(self, model):
        self.network = speculative.Network(model)

    def start(self, rows, length):
        says = self.network.start(rows, length)
        return lambda texts, ends: (
            says(texts, ends).pow(3).div(says(texts, ends).pow(3).sum(-1, keepdim=True))
        )


@pytest.mark.parametrize("guesses", [1, 2, 4])
def test_the_right_rule_passes_and_the_wrong_ones_fail(guesses):
    p, q = speculative.tables(4, seed=guesses)
    chances = {
        rule: speculative.chi_square(speculative.draw_from_tables(p, q, 3, guesses, 30_000, 5, rule)[0], p)
        for rule in (speculative.RIGHT, speculative.FROM_TARGET, speculative.ALWAYS_HALF)
    }
    assert chances[speculative.RIGHT] > 1e-4
    assert max(chances[speculative.FROM_TARGET], chances[speculative.ALWAYS_HALF]) < 1e-9


def test_with_the_target_as_draft_every_guess_stands():
    p, _ = speculative.tables(4, seed=0)
    texts, judged, stood = speculative.draw_from_tables(p, p, 3, 2, 2_000, 0)
    assert judged == stood > 0
    assert texts.shape == (2_000, 3)


def test_a_guess_that_the_target_never_says_is_refused():
    p = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]]).expand(200, -1, -1)
    q = torch.tensor([[[0.0, 1.0]]]).expand(200, -1, -1)
    counts, tokens = speculative.judge(p, q, torch.ones(200, 1, dtype=torch.int64), torch.Generator())
    assert (counts == 0).all()
    assert (tokens == 0).all()


def test_the_decoders_cache_gives_the_models_logits_for_sequences_of_different_places(model, prompts):
    decoder = speculative.Decoder(model, 3, 20)
    with torch.inference_mode():
        expected = model(prompts)
        decoder(prompts, torch.zeros(3, dtype=torch.int64))
        ends = torch.tensor([2, 5, 6])  # everything behind is written anew
        again = decoder(prompts.gather(1, ends[:, None] + torch.arange(3)), ends)
    for row, end in enumerate(ends.tolist()):
        assert torch.allclose(again[row], expected[row, end : end + 3], atol=1e-5)


def test_greedy_texts_are_equal_whatever_the_draft(model, prompts):
    plain = speculative.decode(model, prompts, 20, greedy=True)
    other = lm.LanguageModel(SMALL, seed=2).eval()
    for draft in (
        speculative.Network(other),
        speculative.Network(model),
        speculative.Counts(torch.arange(256)),
    ):
        run = speculative.decode(model, prompts, 20, draft, 3, greedy=True)
        assert torch.equal(run.texts, plain.texts)
    assert plain.texts[0].tolist() == list(lm.generate(model, bytes(prompts[0].tolist()), 20)[9:])


def test_the_model_as_its_own_draft_writes_all_guesses_and_one_more(model, prompts):
    run = speculative.decode(model, prompts, 20, speculative.Network(model), 4)
    assert run.acceptance > 0.99
    assert run.calls == 4


def test_the_share_that_stands_is_the_overlap(model, prompts):
    run = speculative.decode(model, prompts.repeat(20, 1), 40, Peaked(model), 3, on_average=True)
    assert run.acceptance == pytest.approx(run.overlap, abs=0.05)
    assert 0.05 < run.acceptance < 0.98


def test_counts_are_the_frequencies_of_the_text():
    draft = speculative.Counts(torch.tensor([1, 2, 3, 1, 2, 3, 1, 2, 4]))
    says = draft.start(1, 9)(torch.tensor([[1, 2, 0]]), torch.tensor([2]))
    assert says[0, 3].item() == pytest.approx(2 / 3, abs=0.1)
    assert says.sum().item() == pytest.approx(1, abs=1e-5)


def test_the_formula_of_tokens_is_the_sum_and_the_break_even_lies_between():
    assert speculative.tokens_of_a_call(0.5, 3) == pytest.approx(1 + 0.5 + 0.25 + 0.125)
    assert speculative_trials.break_even((1, 4, 16), (2.0, 1.5, 0.5)) == pytest.approx(8)
    assert speculative_trials.break_even((1, 4), (2.0, 1.5)) == float("inf")
    assert speculative_trials.break_even((1, 4), (0.9, 0.8)) == 1
