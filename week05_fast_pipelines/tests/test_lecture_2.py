"""Lecture 2: printed solutions pass the very checks that a reader runs, and the stubs do not; figures draw."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from effdl.bench import Comparison
from effdl.exercises import exercises
from week05_fast_pipelines import photographs, sequences, storage
from week05_fast_pipelines.figures import data as figures

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture_2_data.md")


@pytest.mark.parametrize("exercise", [pytest.param(exercise, id=exercise.title) for exercise in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    names = {"storage": storage, "photographs": photographs}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("AB")


def times(*names):
    return Comparison({name: [0.1 * (k + 1)] * 3 for k, name in enumerate(names)})


def test_figures_draw_what_they_are_given():
    texts = [np.arange(2, 2 + n) for n in (3, 5, 4)]
    drawn = {"one": sequences.lay_out([[text] for text in texts], 6), "two": sequences.lay_out([texts], 12)}
    cold = times("a, in order, cold", "a, in order, warm", "b, at random, cold", "b, at random, warm")
    sweep = {"x": {1: (0.1, 0.09), 2: (0.05, 0.05)}}
    made = [
        figures.layouts(cold, ["a", "b"], ["in order", "at random"]),
        figures.decoders(times("a", "b"), times("b", "a"), 10),
        figures.reduced([1, 2], {"a": [0.5, 0.6]}),
        figures.flows(sweep, sweep),
        figures.plateau([8, 4], {"a": [10, 20], "b": [20, 30]}),
        figures.batches(drawn),
        figures.strategies({"a": 0.5, "b": 0.1}, {"a": 10, "b": 20}),
    ]
    assert all(figure.axes for figure in made)
    plt.close("all")
