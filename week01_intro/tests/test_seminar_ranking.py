"""The protocols rank as they should on samples whose truth is known; the load leaves nothing behind."""

import math
import os

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from week01_intro import ranking
from week01_intro.bursty_load import loaded_cores
from week01_intro.ranking import PROTOCOLS, RIGHT, UNDECIDED, WRONG, Trial

BY_NAME = {protocol.name: protocol for protocol in PROTOCOLS}
ABBA = BY_NAME["ABBA pairs, 98 % interval"]


def quiet_trial(ratio, calls=20, noise=0.001):
    draw = np.random.default_rng(0).normal(1, noise, (4, calls))
    return Trial(draw[0], draw[1] * ratio, draw[2], draw[3] * ratio)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_on_a_quiet_machine_every_protocol_is_right(protocol):
    assert protocol.verdict(quiet_trial(1.08)) == RIGHT
    assert protocol.verdict(quiet_trial(1 / 1.08)) == WRONG
    assert protocol.estimate(quiet_trial(1.08)) == pytest.approx(1.08, rel=0.01)


@given(st.floats(0.2, 5), st.floats(1.02, 2))
def test_a_machine_that_slows_between_separate_runs_misleads_them_but_not_the_pairs(slowdown, ratio):
    quiet = quiet_trial(ratio)
    trial = Trial(np.multiply(quiet.separate_a, slowdown), quiet.separate_b, quiet.paired_a, quiet.paired_b)
    separate = BY_NAME["separate runs, median"]
    assert separate.estimate(trial) == pytest.approx(ratio / slowdown, rel=0.01)
    assert ABBA.verdict(trial) == RIGHT


def test_equal_functions_are_undecided_by_intervals():
    # Drawn samples would be decided for 2 of 100 seeds, and a seed's numbers are NumPy's to change.
    up = np.linspace(0.9, 1.1, 20)
    same = Trial(up, up[::-1], up, up[::-1])
    assert ABBA.verdict(same) == UNDECIDED
    assert BY_NAME["separate runs, 98 % intervals"].verdict(same) == UNDECIDED


def test_every_trial_calls_both_functions_equally_often_and_pairs_stand_between_the_blocks():
    order = []
    ranking.run_trial(lambda: order.append("A"), lambda: order.append("B"), calls=4, a_first=True)
    assert "".join(order) == "AAAA" + "ABBAABBA" + "BBBB"
    order.clear()
    ranking.run_trial(lambda: order.append("A"), lambda: order.append("B"), calls=4, a_first=False)
    assert "".join(order) == "BBBB" + "ABBAABBA" + "AAAA"


def test_trials_end_with_the_budget_but_never_below_thirty():
    assert len(ranking.run_trials(lambda: None, lambda: None, calls=1, trials=50, budget=math.inf)) == 50
    assert len(ranking.run_trials(lambda: None, lambda: None, calls=1, trials=50, budget=0)) == 30


def test_pooled_pairs_recover_the_ratio_and_longer_runs_are_cut_into_rows():
    trials = [quiet_trial(1.08) for _ in range(10)]
    value, low, high = ranking.pooled_ratio(trials)
    assert low <= value <= high
    assert value == pytest.approx(1.08, rel=0.01)
    assert ranking.judge_by_pairs(trials, 40) == [RIGHT] * 5
    assert ranking.share([RIGHT, RIGHT, WRONG, UNDECIDED], RIGHT) == 0.5


def test_load_ends_with_its_body_and_gives_the_cores_back():
    before = (os.sched_getaffinity(0), torch.get_num_threads()) if hasattr(os, "sched_getaffinity") else None
    children = set(psutil.Process().children())

    def fail_under_load():
        with loaded_cores(2):
            new = set(psutil.Process().children()) - children
            assert len(new) == 2
            assert torch.get_num_threads() == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_under_load()
    assert set(psutil.Process().children()) <= children
    if before:
        assert (os.sched_getaffinity(0), torch.get_num_threads()) == before


def test_trials_taken_together_keep_every_sample_in_order():
    trials = [Trial([i], [i + 0.1], [i + 0.2], [i + 0.3]) for i in range(1, 8)]
    merged = ranking.together(trials, 3)
    assert [list(trial.separate_a) for trial in merged] == [[1, 2, 3], [4, 5, 6]]
    assert [list(trial.paired_b) for trial in merged] == [[1.3, 2.3, 3.3], [4.3, 5.3, 6.3]]


def test_every_protocol_judges_as_many_times_as_it_has_trials():
    verdicts = ranking.judge([quiet_trial(1.08) for _ in range(9)])
    assert verdicts.keys() == BY_NAME.keys()
    assert {name: len(said) for name, said in verdicts.items()} == {
        name: 9 // protocol.trials for name, protocol in BY_NAME.items()
    }
