"""The seminar's figures show the numbers that they are given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from effdl.bench import Ratio
from week01_intro import figures, ranking


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_the_timeline_has_a_bar_for_each_kernel_and_a_line_for_each_launch():
    ax = figures.launches_and_kernels([0.1, 0.2, 0.3], [(0.1, 1.0), (1.0, 2.0), (2.0, 3.0)]).axes[0]
    assert sum(len(c.get_paths()) for c in ax.collections[:2]) == 3
    assert len(ax.collections[2].get_segments()) == 3


def test_the_reported_time_is_the_share_of_the_true_time_that_the_clock_showed():
    ax = figures.reported_times({4: 0.5, 8: 0.75}, launch=1e-6, kernel=1e-3, depth=2).axes[0]
    assert ax.lines[2].get_ydata() == pytest.approx([2, 6])


def test_every_protocol_has_a_row_of_shares_that_fill_it():
    trial = ranking.Trial([1.0] * 4, [1.1] * 4, [1.0] * 4, [1.1] * 4)
    trials = [trial] * 8
    bars, marks = figures.protocols(trials, ranking.judge(trials), truth=1.1).axes
    widths = np.zeros(len(ranking.PROTOCOLS))
    for bar in bars.patches:
        widths[round(bar.get_y() + bar.get_height() / 2)] += bar.get_width()
    assert widths == pytest.approx(100)
    assert len(marks.lines) == 3 * len(ranking.PROTOCOLS) + 1


def test_lines_of_the_seminar_hold_what_was_measured():
    ax = figures.dot_product_ratios([64, 399], {"mul-sum": [Ratio(2, 1, 3), Ratio(4, 3, 5)]}, rows=10).axes[0]
    assert ax.lines[0].get_ydata() == pytest.approx([2, 4])
    ax = figures.sum_errors([2, 4], {"pairwise": [0.0, 1e-7]}, {"1": [1e-6, 1e-6]}).axes[0]
    assert ax.lines[0].get_ydata() == pytest.approx([1e-9, 1e-7])  # zero has no place on a logarithmic axis
    ax = figures.power_differences([2, 4], {"numpy": [1e-7, 2e-7]}, [1e-6, 2e-6]).axes[0]
    assert ax.lines[0].get_ydata() == pytest.approx([1e-7, 2e-7])


def test_the_histograms_count_every_report():
    reports = {"mean": np.array([1e-3, 2e-3]), "median": np.array([1e-3, 1.1e-3, 1.2e-3])}
    ax = figures.reported_spread(reports).axes[0]
    assert sum(bar.get_height() for bar in ax.patches) == 5
