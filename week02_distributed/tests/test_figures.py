"""The plots and tables show the numbers that they are given."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from week02_distributed import figures, policies
from week02_distributed.cluster import Cluster, Job
from week02_distributed.hogwild import Run
from week02_distributed.parameter_server import ServerRun
from week02_distributed.staleness import Simulated


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_bars_are_as_high_as_the_gains():
    gains = {"loop": {"row": 1.0, "threads": 0.9}, "sort": {"row": 1.0, "threads": 1.7}}
    ax = figures.speed_gains(gains).axes[0]
    assert [[bar.get_height() for bar in bars] for bars in ax.containers] == [[1.0, 1.0], [0.9, 1.7]]


def test_start_table_shows_the_best_time_and_every_draw():
    report = {"seconds": {"fork": [0.004, 0.002]}, "drawn": {"fork": [0.25, 0.25]}}
    assert figures.start_table(report).rows == [["fork", "2", "0.2500, 0.2500"]]


def test_channel_table_gives_the_size_at_which_half_the_time_is_latency():
    rows = figures.channel_table({"pipe": (1e-4, 1.024e9, 2.5)}).rows
    assert rows == [["pipe", "100", "1.02", "100 KiB", "2.5x"]]


def test_a_table_of_schedules_gives_means_and_ratios_to_the_base():
    jobs = [Job(0, 0, 2, 2 * 90), Job(1, 180, 4, 40), Job(2, 1000, 1, 1)]
    results = policies.simulate_each({"fifo": (policies.fifo, {})}, [jobs], Cluster(1, 4))
    row = figures.schedule_table(results, "fifo").rows[0]
    assert row[:3] == ["fifo", "34", "1.00 (1.00 to 1.00)"]
    # 180 and 40 GPU-seconds of 4,000 until the last job arrives.
    assert row[-1] == "6 %"


def test_prices_are_per_trained_pair():
    history = np.array([[0.0, 0, 1.0], [2.0, 10, 0.5]])
    shared, served = Run({}, history, 2.0), ServerRun({}, history, 3.0, payload=5000)
    rows = figures.price_table(shared, {"synchronous": served}, trained=10).rows
    assert rows == [["shared memory", "2.0", "0.5000", "0"], ["server, synchronous", "3.0", "0.5000", "500"]]


def test_every_word_of_the_map_has_a_label():
    places = {
        "near": {"a": np.zeros(2), "b": np.array([0.01, 0]), "c": np.zeros(2)},
        "far": {"d": np.ones(2)},
    }
    ax = figures.word_map(places).axes[0]
    assert sorted(text.get_text() for text in ax.texts) == ["a", "b", "c", "d"]


def test_points_by_load_are_medians_with_the_range_of_the_traces():
    ax = figures.by_load([0.5, 1.0], {"slices": [np.array([0.5, 1, 3]), np.array([2, 2, 2])]}).axes[0]
    assert ax.containers[0].lines[0].get_ydata() == pytest.approx([1, 2])


def test_a_table_of_stragglers_counts_to_the_loss():
    run = Simulated(
        np.array([1.0, 2.0]), np.array([8, 16]), np.array([0.5, 0.2]), np.array([0, 4]), np.ones(2)
    )
    rows = figures.straggler_table({("alike", "asynchronous"): run}, loss=0.3).rows
    assert rows == [["alike", "asynchronous", "2.00", "16", "2.0", "4"]]


def test_rounds_that_never_came_are_said_to_be_never():
    rows = figures.rounds_table({("FedAvg", "alike"): {0.1: 5.0, 0.8: np.inf}}).rows
    assert rows == [["FedAvg, alike", "0.1: 5", "0.8: never"]]
