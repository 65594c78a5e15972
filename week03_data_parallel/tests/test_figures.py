"""The drawings and tables show what a schedule does and what was measured."""

import itertools

import numpy as np
import pytest
from matplotlib import pyplot as plt

from week03_data_parallel import alpha_beta, digits, figures, optimizer_steps, schedules


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize("make", [schedules.naive, schedules.tree, schedules.ring, schedules.butterfly])
def test_a_drawing_has_a_cell_for_every_chunk_and_frames_what_leaves(make):
    schedule = make(4)
    ax = plt.figure().add_subplot()
    figures.space_time(schedule, ax)
    cells = [patch for patch in ax.patches if patch.get_fill()]
    frames = [patch for patch in ax.patches if not patch.get_fill()]
    messages = [m for messages in schedule.rounds for m in messages]
    assert len(cells) == 4 * schedule.chunks * (len(schedule.rounds) + 1)
    assert len(frames) == len(messages)
    assert [text.get_text() for text in ax.texts if text.get_text()][-1] == "4"


def test_an_animation_shows_each_round_twice_and_ends_where_it_began():
    frames = [np.asarray(frame) for frame in figures.animation(schedules.ring(3))]
    rounds = 2 * (3 - 1)
    assert len(frames) == 2 * rounds + 3 + 2
    assert all((a != b).any() for a, b in itertools.pairwise(frames[: 2 * rounds]))
    assert (frames[-1] == frames[-2]).all()
    assert not plt.get_fignums()


def test_a_model_is_listed_with_its_constants_and_its_error():
    model = alpha_beta.Model(alpha=1e-3, beta=1e-9, lanes=np.inf)
    twice = {("ring", 4, 1000): 2 * model.predict("ring", 4, 1000)}
    (row,) = figures.model_table({"ports": model}, twice).rows
    assert row[:4] == ["ports", "1000", "1.00", "2.00x"]


def test_a_goal_that_no_step_reached_is_never():
    curves = {"dense": [(0, 2.0), (1e6, 0.9), (2e6, 0.4)], "one bit": [(0, 2.0), (1e5, 0.8), (2e5, 0.9)]}
    rows = figures.goals_table(curves, [1.0, 0.5], every=10).rows
    assert rows == [["dense", "10: 1.00", "20: 2.00"], ["one bit", "10: 0.10", "never"]]


def test_the_table_of_optimizers_shows_rate_and_spread_of_each_setting():
    inside, edge = (
        {"SGD": digits.Tuned(0.1, inside, [(0, 2.3)], [0.5, 0.4, 0.6])} for inside in (True, False)
    )
    assert figures.optimizer_table({"SGD": 0.0}, [inside, edge], ["a", "b"]).rows == [
        ["SGD", "0", "0.1", "0.40 to 0.60", "0.1 (edge)", "0.40 to 0.60"]
    ]


def test_sweeps_draw_points_of_all_and_curves_of_fits():
    figure = figures.batch_sweeps(
        [2, 8], {"a": [9, 3], "b": [9, np.inf]}, {"a": [1, 2], "b": [1, np.nan]}, {"a": (2, 7)}
    )
    assert [len(ax.lines) for ax in figure.axes] == [3, 2]
    assert len(figures.run_time([2, 8], [1.0, 0.5]).axes[0].lines) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_timed_optimizers_take_steps(fused):
    ways = optimizer_steps.steps(100, fused)
    assert list(ways) == list(optimizer_steps.KINDS)
    for step in ways.values():
        step()
