"""The lecture's exercises: printed solutions pass the very checks that a reader runs, and the stubs do not."""

from pathlib import Path

import pytest
import torch

from effdl.exercises import exercises

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture.md")


@pytest.mark.parametrize("exercise", [pytest.param(e, id=e.title) for e in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    assert not exercise.verdict({"torch": torch}, solved=False)
    assert exercise.verdict({"torch": torch}, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("ABC")
