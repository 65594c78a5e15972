"""Lecture 2: printed solutions pass the very checks that a reader runs, and the stubs do not; figures draw."""

from pathlib import Path

import pytest
import torch
from matplotlib import pyplot as plt

from effdl.bench import Comparison
from effdl.exercises import exercises
from week07_inference_software import loads
from week07_inference_software.engine import Config, Engine, Llama, Request
from week07_inference_software.engine.engine import StepClock
from week07_inference_software.engine.model import random_weights
from week07_inference_software.figures import engine as figures

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture_2_engine.md")


@pytest.mark.parametrize("exercise", [pytest.param(exercise, id=exercise.title) for exercise in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    names = {"loads": loads, "torch": torch}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("AB")


def test_figures_draw_what_they_are_given():
    config = Config(vocabulary=32, width=16, layers=1, heads=2, groups=1, inner=16)
    engine = Engine(Llama(config, random_weights(config)), 16, clock=StepClock())
    report = engine.run([Request([1, 2], 3), Request([3], 5)])
    times = Comparison({f"{kind}, {n}": [0.1 * n] * 3 for kind in ("prefill", "decode") for n in (1, 4)})
    made = [
        figures.rates(times, (1, 4)),
        figures.waste({"a": 0.5, "b": 0.1}),
        figures.occupied({"a": (report, [3, 5]), "b": (report, [3, 2])}),
        figures.drafts([0.5, 0.9], {"one": [1.1, 2.0]}, [1.5, 3.0]),
    ]
    assert all(figure.axes for figure in made)
    plt.close("all")
