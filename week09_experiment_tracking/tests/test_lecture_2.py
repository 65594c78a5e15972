"""Lecture 2: printed solutions pass the very checks that a reader runs, and the stubs do not; trials and figures."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

from effdl.exercises import exercises
from week09_experiment_tracking import drift, drift_trials
from week09_experiment_tracking.figures import evidence as figures

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture_2_evidence.md")


@pytest.mark.parametrize("exercise", [pytest.param(exercise, id=exercise.title) for exercise in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    names = {"np": np}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("ABC")


def test_scenes_change_what_they_say_and_no_more():
    model, inputs, targets = drift_trials.reader()
    darker, same = drift_trials.darker(inputs, targets)
    assert (same == targets).all()
    assert abs((model.predict(darker) == same).mean() - (model.predict(inputs) == targets).mean()) < 0.03
    unchanged, relabelled = drift_trials.relabelled(inputs, targets)
    assert (unchanged == inputs).all()
    assert set(targets[relabelled != targets]) == {7}


def test_a_world_that_stands_still_is_cheapest_left_alone_but_for_false_alarms():
    costs = {policy: drift_trials.retraining("still", policy, 50.0)[0] for policy in drift_trials.POLICIES}
    assert costs["never"] < costs["every 2,000 rows"] < costs["every 500 rows"]
    assert costs["on alarm"] < costs["every 2,000 rows"]


def test_a_run_length_is_rows_over_alarms_with_an_interval_around_it():
    value, low, high = drift_trials.run_length(lambda r: drift.Cusum(r, 1_000, 50), 2, 5_000, 4)
    assert low < value < high


def test_figures_draw_what_they_are_given():
    made = [
        figures.suites(np.linspace(0, 1, 9), np.linspace(0, 1, 9), np.arange(9)),
        figures.frontier({"random, 1": (81, 0.5), "random, 2": (162, 0.4), "halving": (99, 0.4)}, "constant"),
        figures.intervals({"a": (1.0, 0.8, 1.2), "b": (0.5, 0.4, 0.7)}, "time"),
        figures.scores({"a": np.arange(9.0), "b": np.arange(5.0)}, 3.0),
        figures.delays({"a": {"x": 10, "y": 100}, "b": {"x": 20, "y": 50}}),
    ]
    assert all(figure.axes for figure in made)
    plt.close("all")
