"""The cluster of real processes: every job ends, policies decide who waits, gangs do not deadlock."""

import itertools
import multiprocessing
import os

import pytest

from week02_distributed import mini_cluster, policies
from week02_distributed.cluster import Cluster, Job

PAIR = Cluster(1, 2)


def test_jobs_end_in_the_order_that_the_policy_decides():
    # Job 1 needs both GPUs and waits for job 0; job 2 fits beside job 0 and may pass under backfilling only.
    jobs = [Job(0, 0, 1, 0.4), Job(1, 0.05, 2, 0.2), Job(2, 0.1, 1, 0.1)]
    fifo = mini_cluster.run(jobs, PAIR, policies.fifo)
    passed = mini_cluster.run(jobs, PAIR, policies.backfilling)
    assert sorted(fifo.ends, key=fifo.ends.get) == [0, 1, 2]
    assert sorted(passed.ends, key=passed.ends.get) == [2, 0, 1]
    assert fifo.completion.min() >= 0.1
    assert not multiprocessing.active_children()


def test_time_slices_suspend_and_resume():
    jobs = [Job(0, 0, 2, 0.8), Job(1, 0, 2, 0.8)]
    result = mini_cluster.run(jobs, PAIR, policies.time_slices, slice_=0.1)
    assert set(result.ends) == {0, 1}
    turns = [piece.job for piece in result.intervals if piece.gpus]
    assert sum(a != b for a, b in itertools.pairwise(turns)) >= 3


def test_scaling_scales_every_time():
    job = mini_cluster.scaled([Job(0, 10, 2, 40, deadline=100)], 0.1)[0]
    assert (job.arrival, job.work, job.deadline, job.gpus) == (1, 4, 10, 2)


def test_whole_gangs_never_deadlock():
    assert mini_cluster.two_gangs(3, whole=True, patience=60) == 0
    assert not multiprocessing.active_children()


def test_a_restart_takes_longer_than_a_pause():
    paused, restarted = mini_cluster.pause_and_restart(megabytes=1, rounds=1)
    assert restarted > paused > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to a core")
def test_two_jobs_on_one_core_take_at_least_the_sum_of_their_cpu_seconds():
    assert mini_cluster._together(2, 0, 0.02, batches=5) >= 0.99 * 2 * 5 * 0.02
    assert mini_cluster._together(1, 0.02, 0, batches=5) >= 5 * 0.02


def test_packing_is_a_ratio_of_real_times():
    assert mini_cluster.packing(0.01, 0.001, batches=5, rounds=1) == pytest.approx(1.5, abs=1)
