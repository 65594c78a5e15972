"""Schedules on real ranks: every rank keeps its order, waits for its inputs, and none waits for ever."""

import pytest

from week04_large_models import pipeline_times, schedules
from week04_large_models.schedules import Action

MADE = {
    "GPipe": schedules.gpipe(3, 4),
    "1F1B": schedules.one_f_one_b(3, 4),
    "interleaved": schedules.interleaved(3, 2, 6),
}


FORWARD = 0.002
"""Seconds of a forward; a backward takes twice as long."""


@pytest.fixture(scope="module")
def measured():
    return pipeline_times.measure(MADE, dict.fromkeys(MADE, FORWARD))


@pytest.mark.parametrize("name", sorted(MADE))
def test_ranks_run_their_actions_in_order_and_never_before_the_input_was_made(measured, name):
    timeline = measured[name]
    assert [[action for action, _, _ in rank] for rank in timeline.ranks] == MADE[name]
    ended = {action: end for rank in timeline.ranks for action, _, end in rank}
    stages = {action.stage for action in ended}
    for rank in timeline.ranks:
        for action, start, end in rank:
            step = -1 if action.kind == "F" else 1
            if action.stage + step in stages:
                assert start >= ended[Action(action.kind, action.stage + step, action.micro_batch)]
            assert end - start >= FORWARD


@pytest.mark.parametrize("name", sorted(MADE))
def test_real_ranks_are_never_less_idle_than_the_simulated_ones(measured, name):
    # Idle is all but the passes as long as they should be. On a busy machine a pass oversleeps, which is no work.
    work = sum(FORWARD if action.kind == "F" else 2 * FORWARD for rank in MADE[name] for action in rank)
    simulated = schedules.simulate(MADE[name], FORWARD, 2 * FORWARD)
    idle, expected = (len(MADE[name]) * line.end - work for line in (measured[name], simulated))
    assert idle >= expected - 1e-6
