"""Lecture 1: printed solutions pass the very checks that a reader runs, and the stubs do not; figures draw."""

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from effdl.bench import Ratio
from effdl.exercises import exercises
from week09_experiment_tracking import lecture_tables, pickles
from week09_experiment_tracking.figures import runs as figures

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture.md")


@pytest.mark.parametrize("exercise", [pytest.param(exercise, id=exercise.title) for exercise in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    names = {"pickles": pickles}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("ABC")


def test_the_hash_without_neutral_keys_is_right_in_every_column():
    assert [row[1:] for row in lecture_tables.hashes().rows] == [
        ["same", "same", "same"],
        ["same", "other", "other"],
        ["same", "other", "same"],
    ]


def test_figures_draw_what_they_are_given():
    row = {"read": 3, "acknowledged": 4}
    made = [
        figures.survived({"a": row, "b": row}),
        figures.costs({"a": Ratio(0.1, 0.05, 0.2), "b": Ratio(9, 8, 10)}),
        figures.edits({"x": frozenset("a")}, {"ours": {"x": ["a"]}, "make": {"x": []}}),
        figures.stored({"whole": [1, 2], "cut": [1, 1.1]}),
        figures.apart(
            {"one": {"a": {0: 0.0, 1: 1e-8, 2: 1e-7}}, "two": {"a": {0: 0.0, 1: 0.0}, "b": {1: 0.0}}}
        ),
        figures.resumed([3.0, 2.0, 1.0], {"a": [3.0, 2.5, 1.5]}, 1),
    ]
    assert all(figure.axes for figure in made)
    plt.close("all")
