"""The printed solutions pass the checks that a reader runs, the starts do not; the open ones run too."""

import math
import threading
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from effdl.exercises import exercises
from week02_distributed import cluster, glove, parameter_server, policies

WEEK = Path(__file__).resolve().parent.parent
PAGES = {page: exercises(WEEK / f"{page}.md") for page in ("lecture", "seminar")}
CHECKED = [exercise for page in PAGES.values() for exercise in page if exercise.cell]


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.title)
def test_printed_solution_passes_its_check_and_the_start_does_not(exercise):
    names = {"np": np, "math": math}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_both_pages_have_three_exercises_with_a_check_and_an_open_one():
    for page in PAGES.values():
        assert [bool(exercise.cell) for exercise in page] == [True, True, True, False]


def test_in_the_mixed_trace_of_the_open_exercise_marginal_gain_beats_equal_shares_by_a_tenth():
    scope = {
        "np": np,
        "cluster": cluster,
        "policies": policies,
        "MACHINES": cluster.Cluster(servers=4, per_server=4),
        "elastic_traces": [cluster.random_jobs(120, every=35, seed=seed, elastic=True) for seed in range(2)],
    }
    exec(PAGES["lecture"][-1].solution, scope)
    means = {}
    for policy in (policies.fair_share, policies.marginal_gain, scope["relative_gain"]):
        found = [cluster.simulate(jobs, scope["MACHINES"], policy, switch=5) for jobs in scope["mixed"]]
        means[policy.__name__] = cluster.summarise(found).completion
    assert means["fair_share"] > 1.1 * means["marginal_gain"]
    assert means["fair_share"] > 1.1 * means["relative_gain"]


def train_through_server(worker):
    """Two workers in threads of this process, one epoch; the server's run."""
    first, second = np.divmod(np.arange(400), 20)
    pairs = first.astype(np.int32), second.astype(np.int32), (1 + (first * second) % 9).astype(np.float32)
    links, (_reports, reporter) = [Pipe() for _ in range(2)], Pipe(duplex=False)
    threads = [
        threading.Thread(
            target=worker, args=(end, tuple(c[n::2] for c in pairs), 20, 25, [0, n]), daemon=True
        )
        for n, (_, end) in enumerate(links)
    ]
    for thread in threads:
        thread.start()
    run = parameter_server._serve([end for end, _ in links], reporter, pairs, 20, 8, 0.3, math.inf, 0)
    for thread in threads:
        thread.join(timeout=300)
    return run, glove.full_loss(run.tables, pairs)


def test_a_worker_that_asks_ahead_trains_as_well_with_older_rows():
    scope = {"np": np, "math": math, "glove": glove}
    exec(PAGES["seminar"][-1].solution, scope)
    plain, loss = train_through_server(parameter_server._worker)
    ahead, loss_ahead = train_through_server(scope["_worker"])
    assert len(ahead.staleness) == len(plain.staleness) == 2 * 20 * 8
    # Between a worker's pull and its push there is at least its own push of the batch before.
    assert np.sum(ahead.staleness == 0) <= 2
    assert loss_ahead < 2 * loss
