"""The drawings and tables show what a schedule does and what was measured."""

import itertools

import numpy as np
import pytest
from matplotlib import pyplot as plt

from week03_data_parallel import alpha_beta, figures, schedules


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
