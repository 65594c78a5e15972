"""Lecture 1: hashes of configurations say what the page says of them; figures draw."""

from matplotlib import pyplot as plt

from effdl.bench import Ratio
from week09_experiment_tracking import lecture_tables
from week09_experiment_tracking.figures import runs as figures


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
