"""Both lectures: printed solutions pass the very checks that a reader runs, and the stubs do not."""

from pathlib import Path

import numpy as np
import pytest

from effdl.exercises import exercises
from week09_experiment_tracking import pickles

WEEK = Path(__file__).resolve().parent.parent
FOUND = {page: exercises(WEEK / f"{page}.md") for page in ("lecture", "lecture_2_evidence")}


@pytest.mark.parametrize(
    "exercise",
    [pytest.param(one, id=f"{page}, {one.title}") for page, found in FOUND.items() for one in found],
)
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    names = {"np": np, "pickles": pickles}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


@pytest.mark.parametrize("page", FOUND)
def test_no_exercise_was_overlooked(page):
    assert [exercise.title[0] for exercise in FOUND[page]] == list("ABC")
