"""The printed solutions pass the very checks that a reader runs, and the starts do not."""

import math
from pathlib import Path

import numpy as np
import pytest

from effdl.exercises import exercises
from week03_data_parallel import overlap, schedules

WEEK = Path(__file__).resolve().parent.parent
PAGES = {page: exercises(WEEK / f"{page}.md") for page in ("lecture", "seminar")}
CHECKED = [exercise for page in PAGES.values() for exercise in page if exercise.cell]


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.title)
def test_printed_solution_passes_its_check_and_the_start_does_not(exercise):
    names = {"np": np, "math": math, "schedules": schedules, "overlap": overlap}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_both_pages_have_three_exercises_with_a_check_and_an_open_one():
    for page in PAGES.values():
        assert [bool(exercise.cell) for exercise in page] == [True, True, True, False]


def test_gossip_is_a_butterfly_in_four_steps_and_slow_on_a_ring():
    scope = {"np": np}
    exec(PAGES["lecture"][-1].solution, scope)
    values = np.arange(16.0)
    for step in range(4):
        values = (values + values[scope["butterfly"](step, None)]) / 2
    np.testing.assert_allclose(values, 7.5)
    assert scope["steps_to_mean"](scope["butterfly"]) <= 4
    assert 20 < scope["steps_to_mean"](scope["ring"]) < 300
    neighbours = {tuple(scope["ring"](0, np.random.default_rng(seed)) - np.arange(16)) for seed in range(64)}
    assert len(neighbours) == 2
    assert set(np.abs(list(neighbours)).ravel()) == {1, 15}
