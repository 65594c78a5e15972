"""Every way to serve a request gives the tokens of a plain, unbatched, uncached forward pass."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from week07_inference_software.engine import (
    Config,
    Engine,
    Invariant,
    Llama,
    Request,
    Sampling,
    Scheduler,
    Usual,
    drafts,
)
from week07_inference_software.engine.engine import StepClock
from week07_inference_software.engine.model import BLOCK, Cache, Rows, random_weights
from week07_inference_software.engine.sampling import draw
from week07_inference_software.engine.scheduler import shortest_first
from week07_inference_software.loads import rehearsed

CONFIG = Config(vocabulary=64, width=32, layers=2, heads=4, groups=2, inner=48)
MODEL = Llama(CONFIG, random_weights(CONFIG))
RANDOM = torch.Generator().manual_seed(0)
PROMPTS = [torch.randint(64, (n,), generator=RANDOM).tolist() for n in (1, 5, 16, 17, 33, 40)]
NEW = 20


def plain(request: Request) -> list[int]:
    """The answer by reading the whole text anew for each token."""
    tokens = list(request.prompt)
    for _ in range(request.new):
        blocks = -(-len(tokens) // BLOCK)
        rows = Rows.of([(tokens, 0, list(range(1, blocks + 1)))])
        hidden = MODEL.forward(rows, Cache(CONFIG, blocks + 1), Usual())
        logits = MODEL.logits(hidden[-1:], Usual())[0]
        tokens.append(draw(logits, request.sampling, len(tokens)))
    return tokens[len(request.prompt) :]


GREEDY = [plain(Request(prompt, NEW)) for prompt in PROMPTS]
WARM = Sampling(temperature=0.8, top_k=20, top_p=0.9, seed=3)
SAMPLED = [plain(Request(prompt, NEW, WARM)) for prompt in PROMPTS]


def serve(kernels=None, sampling=None, blocks=64, scheduler=None, **options):
    requests = [Request(p, NEW, sampling or Sampling(), arrival=2 * n) for n, p in enumerate(PROMPTS)]
    engine = Engine(MODEL, blocks, kernels, scheduler, clock=StepClock(), **options)
    report = engine.run(requests)
    engine.pool.check()
    return report


@pytest.mark.parametrize("kernels", [Usual(), Invariant(1), Invariant(8)], ids=lambda k: f"{k.name}")
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda: Scheduler(),
        lambda: Scheduler(budget=5, most=3),
        lambda: Scheduler(most=3, admit="when empty"),
        lambda: Scheduler(most=3, decode_first=False),
        lambda: Scheduler(most=2, order=shortest_first),
    ],
    ids=["all at once", "prompts in chunks of five", "static", "prompts first", "shortest first"],
)
def test_tokens_do_not_depend_on_the_schedule(scheduler, kernels):
    assert serve(kernels, scheduler=scheduler()).answers == GREEDY


def test_sampled_tokens_do_not_depend_on_the_schedule():
    assert serve(sampling=WARM).answers == serve(sampling=WARM, scheduler=Scheduler(budget=4, most=2)).answers
    assert serve(sampling=WARM).answers == SAMPLED


def test_a_sequence_that_loses_its_blocks_goes_on_where_it_was():
    report = serve(blocks=8, keep=False)
    assert report.answers == GREEDY
    assert sum(s.preempted for s in report.sequences) > 0


@pytest.mark.parametrize("draft", [drafts.lookup(), "rehearsed"], ids=["lookup", "rehearsed"])
@pytest.mark.parametrize("sampling", [Sampling(), WARM], ids=["greedy", "sampled"])
def test_a_draft_changes_no_token(draft, sampling):
    wanted = SAMPLED if sampling is WARM else GREEDY
    if draft == "rehearsed":
        whole = [p + a for p, a in zip(PROMPTS, wanted, strict=True)]
        draft = rehearsed(whole, 0.7, CONFIG.vocabulary)
    assert serve(sampling=sampling, draft=draft).answers == wanted


def test_a_draft_that_is_right_saves_steps():
    whole = [p + a for p, a in zip(PROMPTS, GREEDY, strict=True)]
    drafted = serve(draft=rehearsed(whole, 1.0, CONFIG.vocabulary))
    # Five tokens a step instead of one, behind the first; the last request comes at time 10.
    assert len(drafted.steps) <= 10 + 1 + -(-(NEW - 1) // 5)


def test_no_sequence_ever_holds_a_block_that_it_does_not_need():
    assert max(step.unused for step in serve().steps) < BLOCK


def test_a_known_beginning_is_not_computed_again():
    engine = Engine(MODEL, clock=StepClock())
    first = engine.run([Request(PROMPTS[-1], NEW)])
    again = engine.run([Request(PROMPTS[-1] + [1, 2], NEW)])
    assert first.sequences[0].shared == 0
    assert again.sequences[0].shared == len(PROMPTS[-1]) // BLOCK * BLOCK
    assert again.answers == [plain(Request(PROMPTS[-1] + [1, 2], NEW))]


def test_a_prompt_that_is_known_whole_still_gets_its_last_token_computed():
    engine = Engine(MODEL, clock=StepClock())
    request = Request(PROMPTS[2], NEW)  # exactly one block
    assert engine.run([request]).answers == engine.run([Request(PROMPTS[2], NEW)]).answers == [GREEDY[2]]


@pytest.mark.parametrize("most", [8, 2], ids=["at once", "some wait"])
def test_several_answers_share_the_prompt_and_differ_in_their_seeds(most):
    engine = Engine(MODEL, scheduler=Scheduler(most=most), clock=StepClock())
    report = engine.run([Request(PROMPTS[3], NEW, WARM, answers=4)])
    wanted = [plain(Request(PROMPTS[3], NEW, Sampling(0.8, 20, 0.9, seed))) for seed in range(3, 7)]
    assert report.answers == wanted
    assert len({tuple(answer) for answer in wanted}) == 4
    engine.pool.check()


def test_answers_that_share_a_block_copy_it_before_they_write():
    engine = Engine(MODEL, clock=StepClock())
    engine.submit(Request(PROMPTS[3], NEW, WARM, answers=3))  # 17 tokens: a full block, and one in the next
    engine.step()
    tables = [s.table for s in engine.scheduler.running]
    assert len({t[0] for t in tables}) == 1
    assert engine.pool.holders[tables[0][1]] == 3
    engine.step()
    assert len({s.table[0] for s in engine.scheduler.running}) == 1
    assert len({s.table[1] for s in engine.scheduler.running}) == 3


def test_a_stop_token_ends_the_answer():
    stop = GREEDY[1][7]
    report = Engine(MODEL, clock=StepClock()).run([Request(PROMPTS[1], NEW, stop=stop)])
    assert report.answers == [GREEDY[1][: GREEDY[1].index(stop) + 1]]


def test_a_request_that_can_never_fit_is_refused_at_once():
    with pytest.raises(ValueError, match="more blocks"):
        Engine(MODEL, blocks=3).submit(Request([1] * 30, 10))


def test_prompts_first_lets_nobody_decode_while_a_prompt_is_read():
    scheduler = Scheduler(budget=8, most=8, decode_first=False)
    engine = Engine(MODEL, scheduler=scheduler, clock=StepClock())
    report = engine.run([Request(PROMPTS[0], NEW), Request(PROMPTS[5], 2, arrival=3)])
    chunked = Engine(MODEL, scheduler=Scheduler(budget=8, most=8), clock=StepClock())
    gaps = chunked.run([Request(PROMPTS[0], NEW), Request(PROMPTS[5], 2, arrival=3)]).gaps()
    assert report.gaps()[0].max() == 1 + 5  # 40 tokens, eight at a time
    assert gaps[0].max() == 1


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_load_under_any_policy_gives_the_same_tokens_and_leaks_nothing(data):
    most = data.draw(st.integers(1, 6))
    scheduler = Scheduler(
        budget=data.draw(st.integers(most, 40)),
        most=most,
        admit=data.draw(st.sampled_from(["any time", "when empty"])),
        decode_first=data.draw(st.booleans()),
    )
    which = data.draw(st.lists(st.integers(0, len(PROMPTS) - 1), min_size=1, max_size=6))
    requests = [Request(PROMPTS[n], NEW, arrival=data.draw(st.integers(0, 30))) for n in which]
    wanted = {request: GREEDY[n] for request, n in zip(requests, which, strict=True)}
    draft = data.draw(st.sampled_from([None, drafts.lookup()]))
    engine = Engine(MODEL, data.draw(st.integers(6, 40)), Usual(), scheduler, draft, clock=StepClock())
    for sequence in engine.run(requests).sequences:
        assert sequence.written == wanted[sequence.request]
    engine.pool.check()
