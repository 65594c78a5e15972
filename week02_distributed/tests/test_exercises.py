"""The printed solutions pass the checks that a reader runs, the starts do not; the open ones run too."""

import math
import threading
import time
from collections import Counter
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from effdl.exercises import exercises
from week02_distributed import (
    cluster,
    cooccurrence,
    first_steps,
    glove,
    hogwild,
    parameter_server,
    policies,
    processes,
    staleness,
)

WEEK = Path(__file__).resolve().parent.parent
PAGES = {page: exercises(WEEK / f"{page}.md") for page in ("lecture", "lecture_2_clusters", "seminar")}
CHECKED = [exercise for page in PAGES.values() for exercise in page if exercise.cell]


def names() -> dict:
    """What the cells of the exercises find in their notebooks."""
    texts = ["a b c", "b c", "c and a"] * 3
    modules = (cluster, cooccurrence, first_steps, glove, hogwild, parameter_server, policies, processes)
    return {
        **{module.__name__.split(".")[-1]: module for module in modules},
        **{"__name__": "__main__", "np": np, "math": math, "time": time, "wait": wait, "replace": replace},
        **{"Counter": Counter, "CONTEXT": processes.CONTEXT, "NearestNeighbors": NearestNeighbors},
        **{"texts": texts, "counts": cooccurrence.count_tokens(texts)},
        "words": {"row": 0, "file": 1, "matrix": 2},
        "unit": glove.vectors(glove.new_tables(30, 5, seed=0)),
    }


@pytest.mark.parametrize("exercise", CHECKED, ids=lambda exercise: exercise.title)
def test_printed_solution_passes_its_check_and_the_start_does_not(exercise):
    assert not exercise.verdict(names(), solved=False)
    assert exercise.verdict(names(), solved=True)


def test_how_many_exercises_each_page_has():
    checked = {name: [bool(exercise.cell) for exercise in page] for name, page in PAGES.items()}
    assert checked["lecture"] == [True, True, True, False]
    assert checked["lecture_2_clusters"] == [True, True, False]
    assert checked["seminar"] == [True] * 6 + [False]


WRONG = {
    "B": "def count_in_parallel(texts, workers):\n    return cooccurrence.count_tokens(texts[::workers])\n",
    "C": "def adagrad_step(table, squares, indices, rows, rate):\n"
    "    squares[indices] += rows**2\n    table[indices] -= rate * rows / np.sqrt(squares[indices])\n"
    "    return table\n",
    "D": "def hogwild_worker(worker, workers, pairs, tables, done, epochs, batch, rate, seed):\n"
    "    done[worker] += epochs * len(pairs[2]) // workers\n",
}


@pytest.mark.parametrize("letter", "BCD")
def test_a_wrong_solution_fails_the_check(letter):
    exercise = next(e for e in PAGES["seminar"] if e.title.startswith(letter))
    assert not replace(exercise, solution=WRONG[letter]).verdict(names(), solved=True)


def test_in_the_mixed_trace_of_the_open_exercise_marginal_gain_beats_equal_shares_by_a_tenth():
    traces = [cluster.random_jobs(150, 0.9, seed) for seed in range(2)]
    scope = {
        "np": np,
        "cluster": cluster,
        "policies": policies,
        "MACHINES": cluster.Cluster(servers=4, per_server=4),
        "elastic_traces": [[replace(job, elastic=True) for job in trace] for trace in traces],
    }
    exec(PAGES["lecture_2_clusters"][-1].solution, scope)
    means = {}
    for policy in (policies.fair_share, policies.marginal_gain, scope["relative_gain"]):
        found = [cluster.simulate(jobs, scope["MACHINES"], policy, switch=5) for jobs in scope["mixed"]]
        means[policy.__name__] = cluster.summarise(found).completion
    assert means["fair_share"] > 1.1 * means["marginal_gain"]
    assert means["marginal_gain"] > means["relative_gain"]


def test_the_largest_step_falls_with_the_workers(capsys):
    solution = PAGES["lecture"][-1].solution
    for long, short in {
        "(4, 8, 16, 32)": "(4, 32)",
        "1.6 ** np.arange(-8, 7)": "4.0 ** np.arange(-2, 2)",
    }.items():
        assert long in solution
        solution = solution.replace(long, short)
    exec(solution, {"np": np, "staleness": staleness})
    steps = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(steps) == 2
    assert 0 < steps[-1] < steps[0]


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
