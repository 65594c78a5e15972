"""Lecture 2: printed solutions pass the very checks that a reader runs, and the stubs do not; figures draw."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from effdl.bench import Ratio
from effdl.exercises import exercises
from week08_compress_models import sparse_products
from week08_compress_models.figures import smaller as figures

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture_2_smaller.md")


@pytest.mark.parametrize("exercise", [pytest.param(e, id=e.title) for e in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    assert not exercise.verdict({}, solved=False)
    assert exercise.verdict({}, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("ABC")


def test_compressed_rows_are_compared_at_every_sparsity():
    assert len(sparse_products.csr(32, 2, (0.5, 0.9), pairs=2)) == 2


def test_figures_draw_what_they_are_given():
    ratio = Ratio(1.2, 1.1, 1.3)
    made = [
        figures.students({"a": {"x": [90, 91], "y": [92, 93]}, "b": {"x": [80, 81]}}, 97),
        figures.magnitude([0.5, 0.9], {"a": [90, 10], "b": [80, 10]}),
        figures.tickets({0.4: {"a": [90, 91], "b": [80, 82]}, 0.1: {"a": [70, 75], "b": [60, 50]}}, 93),
        figures.sparse([0.5, 0.9], {"a": [ratio, ratio]}),
        figures.layers({"a": (1, 1), "b": (0.1, 0.3)}),
        figures.ranks([1, 2], {"a": [ratio, ratio]}, 2.0),
        figures.search([1e-3, 2e-3], [1e-3, 3e-3], [90, 91], [92, 93]),
        figures.searches({"a": np.ones((3, 8)), "b": np.ones((3, 8))}, 2.0),
        figures.tokens([1, 2], {"a": [1.5, 1.8]}, {"a": [1.5, 1.9]}),
        figures.batches([1, 4], [ratio, ratio], [1.3, 1.1]),
    ]
    assert all(figure.axes for figure in made)
    plt.close("all")
