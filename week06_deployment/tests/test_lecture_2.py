"""Lecture 2: printed solutions pass the very checks that a reader runs, and the stubs do not; figures draw."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from effdl.bench import Comparison
from effdl.exercises import exercises
from week06_deployment import autoscaling, histograms, images, incident
from week06_deployment.figures import operations as figures

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture_2_operations.md")


@pytest.mark.parametrize("exercise", [pytest.param(exercise, id=exercise.title) for exercise in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    assert not exercise.verdict({}, solved=False)
    assert exercise.verdict({"math": np}, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("AB")


def test_the_specification_of_exercise_b_is_what_the_page_measures():
    inf = float("inf")
    assert histograms.quantile(0.99, [0.1, 0.25, 0.5, inf], [900, 980, 1000, 1000]) == pytest.approx(0.375)
    assert histograms.quantile(0.99, [0.1, 0.25, inf], [90, 95, 100]) == 0.25


def test_figures_draw_what_they_are_given():
    layers = [
        images.Layer(words, 10**7)
        for words in ("COPY ... /", "COPY ... /", "COPY ... .", "RUN pip install x")
    ]
    sizes = {"bad": figures.by_part(layers), "good": figures.by_part([layers[0], layers[-1]])}
    assert [name for name, _ in sizes["bad"]] == ["slim base", "compiler files", "repository", "packages"]
    run = autoscaling.simulate(autoscaling.jump(90, 900), 50)
    seen = incident.Incident(
        faults_began=1, killed=2, history={"all": ([0, 1], [1, 2]), "Gone fires": ([1, 2], [1, 1])}
    )
    values = histograms.seconds(100, 0.05, 0.5, seed=0)
    made = [
        figures.images(sizes, Comparison({"bad": [3.0, 3.1], "good": [0.5, 0.6]})),
        figures.replicas({"a": run, "b": run}, 900),
        figures.incident(seen),
        figures.incident(incident.Incident()),
        figures.buckets(values, {"x": histograms.DEFAULT, "y": histograms.FINE}, {"x": 0.1, "y": 0.2}),
        figures.bills([1, 10], {"a": [1, 2]}),
        figures.spot([2, 4], {"a": [1.5, 1.2]}, {"limit": 1.25}),
    ]
    assert all(figure.axes for figure in made)
    for figure in made:
        figure.canvas.draw()
    plt.close("all")
