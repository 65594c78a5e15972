"""The lectures' exercises: printed solutions pass the very checks that a reader runs, and the stubs do not."""

from pathlib import Path

import pytest

from effdl.exercises import exercises
from week04_large_models import schedules

WEEK = Path(__file__).resolve().parent.parent
MEMORY, PARALLEL = (exercises(WEEK / f"{name}.md") for name in ("lecture", "lecture_2_model_parallel"))
WITH_CHECK = [pytest.param(exercise, id=exercise.title) for exercise in MEMORY + PARALLEL if exercise.cell]


@pytest.mark.parametrize("exercise", WITH_CHECK)
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    assert not exercise.verdict({}, solved=False)
    assert exercise.verdict({}, solved=True)


def test_solution_of_the_open_exercise_runs_and_shrinks_the_bubble():
    (solution,) = (exercise.solution for exercise in PARALLEL if exercise.title.startswith("C. "))
    space = {}
    exec(solution, space)
    for p, m in ((1, 3), (2, 4), (4, 8), (8, 16)):
        assert space["idle_share"](p, m, False) == pytest.approx(schedules.bubble(p, m))
    assert space["idle_share"](4, 8, True) == pytest.approx(0.17, abs=0.01)


def test_no_exercise_of_the_lectures_was_overlooked():
    assert [exercise.title[0] for exercise in MEMORY] == list("AB")
    assert [exercise.title[0] for exercise in PARALLEL] == list("ABC")
    assert len(WITH_CHECK) == 4
