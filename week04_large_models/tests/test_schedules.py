"""Pipeline schedules: each runs everything once, in an order that ends, with the bubble and memory of the papers."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_large_models import schedules
from week04_large_models.schedules import Action

PASSES = st.sampled_from([(1.0, 1.0), (1.0, 2.0), (3.0, 2.0)])


def everything(stages, micro_batches):
    return {Action(k, s, m) for k in "FB" for s in range(stages) for m in range(micro_batches)}


@st.composite
def any_schedule(draw):
    """(ranks, chunks, micro-batches, schedule), of all three kinds."""
    kind = draw(st.sampled_from(["gpipe", "1f1b", "interleaved"]))
    ranks, chunks = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    if kind == "interleaved":
        count = ranks * draw(st.integers(1, 4))
        return ranks, chunks, count, schedules.interleaved(ranks, chunks, count)
    count = draw(st.integers(1, 12))
    make = schedules.gpipe if kind == "gpipe" else schedules.one_f_one_b
    return ranks, 1, count, make(ranks, count)


@given(any_schedule())
def test_every_stage_runs_each_micro_batch_once_forward_and_once_backward(case):
    ranks, chunks, count, schedule = case
    flat = [action for actions in schedule for action in actions]
    assert len(flat) == len(set(flat))
    assert set(flat) == everything(ranks * chunks, count)
    for rank, actions in enumerate(schedule):
        assert {action.stage % ranks for action in actions} == {rank}


@given(any_schedule(), PASSES, st.sampled_from([0.0, 0.25, 5.0]))
def test_no_action_starts_before_its_input_is_there_or_while_its_rank_is_busy(case, times, transfer):
    ranks, chunks, count, schedule = case
    timeline = schedules.simulate(schedule, *times, transfer)
    end = {action: stop for rank in timeline.ranks for action, _, stop in rank}
    assert len(end) == 2 * ranks * chunks * count
    for rank in timeline.ranks:
        free = 0.0
        for action, start, stop in rank:
            assert start >= free
            assert stop - start == times["FB".index(action.kind)]
            free, stage, number = stop, action.stage, action.micro_batch
            away = transfer if ranks > 1 else 0.0
            if action.kind == "F" and stage:
                assert start >= end[Action("F", stage - 1, number)] + away
            if action.kind == "B":
                assert start >= end[Action("F", stage, number)]
                if stage < ranks * chunks - 1:
                    assert start >= end[Action("B", stage + 1, number)] + away


@given(
    st.sampled_from([schedules.gpipe, schedules.one_f_one_b]), st.integers(1, 6), st.integers(1, 12), PASSES
)
def test_bubble_is_the_formula_whatever_the_passes_take(make, ranks, count, times):
    timeline = schedules.simulate(make(ranks, count), *times)
    assert timeline.bubble == pytest.approx((ranks - 1) / (count + ranks - 1))


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), PASSES)
def test_interleaving_divides_the_bubble_by_the_stages_of_a_rank(ranks, chunks, groups, times):
    count = ranks * groups
    timeline = schedules.simulate(schedules.interleaved(ranks, chunks, count), *times)
    assert timeline.bubble == pytest.approx((ranks - 1) / (chunks * count + ranks - 1))
    assert schedules.bubble(ranks, count, chunks) == pytest.approx(timeline.bubble)


@given(st.integers(1, 6), st.integers(1, 12))
def test_gpipe_keeps_every_micro_batch_and_1f1b_no_more_than_ranks_behind_it(ranks, count):
    assert [max(n) for n in schedules.in_flight(schedules.gpipe(ranks, count))] == [count] * ranks
    peaks = [max(n) for n in schedules.in_flight(schedules.one_f_one_b(ranks, count))]
    assert peaks == [min(count, ranks - rank) for rank in range(ranks)]


@given(st.integers(2, 5), st.integers(2, 4), st.integers(2, 4))
def test_interleaving_costs_the_memory_that_korthikanti_et_al_say(ranks, chunks, groups):
    schedule = schedules.interleaved(ranks, chunks, ranks * groups)
    peak = max(schedules.in_flight(schedule)[0]) / chunks  # in whole micro-batches of rank 0's layers
    # 1 + (p - 1) / (p m) times that of 1F1B, in Reducing activation recomputation (MLSys 2023), section 4.2.3.
    assert peak == pytest.approx(ranks * (1 + (ranks - 1) / (ranks * chunks)))


@given(any_schedule())
def test_nothing_waits_for_its_backward_in_the_end(case):
    assert all(counts[-1] == 0 for counts in schedules.in_flight(case[-1]))


def test_interleaving_one_stage_per_rank_is_1f1b():
    assert schedules.interleaved(3, 1, 6) == schedules.one_f_one_b(3, 6)


def test_an_order_that_can_never_complete_is_named_not_waited_for():
    first, second = schedules.one_f_one_b(2, 2)
    backward_first = [first[::-1], second]
    with pytest.raises(ValueError, match="B1 of stage 0 waits for F1 of stage 0 and B1 of stage 1"):
        schedules.simulate(backward_first)


@pytest.mark.parametrize("make", [schedules.gpipe, schedules.one_f_one_b])
def test_no_stage_and_no_micro_batch_are_refused(make):
    with pytest.raises(ValueError, match="stages=0"):
        make(0, 3)
    with pytest.raises(ValueError, match="micro_batches=0"):
        make(3, 0)
    with pytest.raises(ValueError, match="multiple"):
        schedules.interleaved(3, 2, 4)


@pytest.mark.parametrize(
    ("ranks", "chunks", "count"), [(2, 2, 4), (4, 2, 8), (4, 3, 12), (3, 2, 9), (8, 2, 16)]
)
def test_interleaved_is_action_by_action_what_pytorch_runs(ranks, chunks, count):
    theirs = pytest.importorskip("torch.distributed.pipelining.schedules").ScheduleInterleaved1F1B
    # The public way to their list is a process group of that size with a model in it; this method needs the sizes.
    groups = count // ranks
    sizes = SimpleNamespace(pp_group_size=ranks, n_local_stages=chunks, _n_microbatches=count)
    sizes.number_of_rounds, sizes.microbatches_per_round = groups, count // groups
    for rank, actions in enumerate(schedules.interleaved(ranks, chunks, count)):
        order = theirs._calculate_single_rank_operations(sizes, rank)
        kinds = {"FORWARD": "F", "FULL_BACKWARD": "B"}
        named = [(kinds[a.computation_type.name], a.stage_index, a.microbatch_index) for a in order if a]
        assert named == [(a.kind, a.stage, a.micro_batch) for a in actions]
