"""Lecture 2: trials of monitors, and figures."""

import numpy as np
from matplotlib import pyplot as plt

from week09_experiment_tracking import drift, drift_trials
from week09_experiment_tracking.figures import evidence as figures


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
