"""The cluster simulator: invariants for every policy, and the orders that single policies promise."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from week02_distributed import policies
from week02_distributed.cluster import Cluster, Deadlock, Job, random_jobs, ratios, simulate, summarise

CLUSTER = Cluster(2, 4)
SETTINGS = {
    "fifo": (policies.fifo, {}),
    "piecemeal": (policies.piecemeal_with_eviction, {"switch": 1}),
    "gang": (policies.backfilling, {}),
    "easy": (policies.easy, {}),
    "shortest": (policies.shortest, {}),
    "by deadline": (policies.by_deadline, {}),
    "two queues": (policies.two_queues, {"slice_": 10, "switch": 1}),
    "moldable": (policies.moldable, {}),
    "deadline": (policies.earliest_deadline, {"switch": 1}),
    "slices": (policies.time_slices, {"slice_": 10, "switch": 1}),
    "migration": (policies.time_slices, {"slice_": 10, "switch": 1, "migrate": True}),
    "fair": (policies.fair_share, {"switch": 1}),
    "gain": (policies.marginal_gain, {"switch": 1}),
}
ELASTIC = {"fair", "gain", "moldable"}
job_lists = st.lists(
    st.tuples(st.floats(0, 100), st.integers(1, 8), st.floats(1, 100), st.floats(0, 0.5), st.floats(1, 500)),
    min_size=1,
    max_size=12,
)


def make_jobs(rows, elastic=False):
    return [Job(n, a, g, w, c, a + d, elastic) for n, (a, g, w, c, d) in enumerate(sorted(rows))]


@pytest.mark.parametrize("name", SETTINGS)
@settings(deadline=None, max_examples=25)
@given(rows=job_lists)
def test_every_job_ends_all_its_work_is_done_and_no_gpu_is_used_twice(name, rows):
    jobs = make_jobs(rows, name in ELASTIC)
    policy, options = SETTINGS[name]
    result = simulate(jobs, CLUSTER, policy, **options)
    assert set(result.ends) == {job.name for job in jobs}
    for job in jobs:
        mine = [p for p in result.intervals if p.job == job.name]
        assert sum(p.speed * (p.end - p.start) for p in mine) == pytest.approx(job.work, rel=1e-6)
        assert min(p.start for p in mine) >= job.arrival - 1e-9
    for gpu in range(CLUSTER.gpus):
        used = sorted((p.start, p.end) for p in result.intervals if gpu in p.gpus)
        assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(used))


@pytest.mark.parametrize("name", ["gang", "deadline", "slices", "shortest", "by deadline", "two queues"])
@settings(deadline=None, max_examples=25)
@given(rows=job_lists)
def test_no_job_that_fits_waits_beside_free_gpus(name, rows):
    jobs, (policy, options) = make_jobs(rows), SETTINGS[name]
    result = simulate(jobs, CLUSTER, policy, **options)
    times = sorted({t for p in result.intervals for t in (p.start, p.end)})
    for start, end in pairwise(times):
        if end - start < 1e-6:
            continue
        middle = (start + end) / 2
        holding = [p for p in result.intervals if p.start <= middle < p.end]
        free = CLUSTER.gpus - sum(len(p.gpus) for p in holding)
        holders = {p.job for p in holding}
        waiting = [
            j
            for j in jobs
            if j.arrival < start - 1e-6 and result.ends[j.name] > end and j.name not in holders
        ]
        assert all(job.gpus > free for job in waiting)


@settings(deadline=None, max_examples=25)
@given(rows=job_lists)
def test_elastic_policies_leave_no_gpu_that_would_help(rows):
    jobs = [replace(job, cost=0.0) for job in make_jobs(rows, elastic=True)]
    for policy in (policies.fair_share, policies.marginal_gain):
        result = simulate(jobs, CLUSTER, policy)
        total = sum(job.work for job in jobs)
        busy = sum((p.end - p.start) * len(p.gpus) for p in result.intervals)
        assert busy == pytest.approx(total, rel=1e-6)
        for p in result.intervals:
            if p.end - p.start > 1e-6:
                middle = (p.start + p.end) / 2
                assert sum(len(q.gpus) for q in result.intervals if q.start <= middle < q.end) == CLUSTER.gpus


@settings(deadline=None, max_examples=40)
@given(rows=job_lists)
def test_earliest_deadline_meets_all_deadlines_on_one_gpu_if_first_come_first_served_does(rows):
    jobs = [replace(job, gpus=1) for job in make_jobs(rows)]
    one = Cluster(1, 1)
    if simulate(jobs, one, policies.fifo).missed == 0:
        assert simulate(jobs, one, policies.earliest_deadline).missed == 0


@settings(deadline=None, max_examples=25)
@given(rows=job_lists)
def test_fifo_starts_jobs_in_the_order_of_arrival(rows):
    jobs = make_jobs(rows)
    result = simulate(jobs, CLUSTER, policies.fifo)
    starts = [min(p.start for p in result.intervals if p.job == job.name) for job in result.jobs]
    assert all(a <= b + 1e-9 for a, b in pairwise(starts))


def test_piecemeal_deadlocks_where_gangs_run():
    jobs = [Job(0, 0, 4, 40), Job(1, 0, 4, 40)]
    with pytest.raises(Deadlock, match=r"GPUs held by job: \{0: 2, 1: 2\}"):
        simulate(jobs, Cluster(1, 4), policies.piecemeal)
    assert simulate(jobs, Cluster(1, 4), policies.backfilling).makespan == pytest.approx(20)


def test_time_slices_alternate_and_a_switch_costs():
    jobs = [Job(0, 0, 4, 80), Job(1, 0, 4, 80)]
    free = simulate(jobs, Cluster(1, 4), policies.time_slices, slice_=5)
    assert sorted(free.ends.values()) == pytest.approx([35, 40])
    dear = simulate(jobs, Cluster(1, 4), policies.time_slices, slice_=5, switch=1)
    assert dear.makespan > 42
    np.testing.assert_allclose(free.first_result(5), [5, 10])


def test_migration_brings_a_gang_together():
    # Both servers are half full when the gang of four arrives; one job of each server then ends.
    jobs = [Job(n, 0, 1, 10 if n < 4 else 60) for n in range(8)]
    jobs[3], jobs[4] = replace(jobs[3], work=60), replace(jobs[4], work=10)
    late = Job(8, 5, 4, 400, cost=0.2)
    apart = simulate([*jobs, late], CLUSTER, policies.backfilling)
    together = simulate([*jobs, late], CLUSTER, policies.backfilling, migrate=True)
    # Apart, each further GPU costs three times as much from the start to the end.
    assert apart.ends[8] == pytest.approx(10 + 100 * (1 + 3 * 0.2 * 3))
    assert together.ends[8] < apart.ends[8]


def test_marginal_gain_gives_to_the_job_that_scales():
    jobs = [Job(0, 0, 1, 100, cost=0.9, elastic=True), Job(1, 0, 1, 100, cost=0.0, elastic=True)]
    result = simulate(jobs, Cluster(1, 8), policies.marginal_gain)
    held = {p.job: len(p.gpus) for p in result.intervals if p.start == 0}
    assert held[1] > 2 * held[0]


def test_a_gang_across_servers_is_slower_and_half_a_gang_stands_still():
    job = Job(0, 0, 4, 100, cost=0.1)
    assert job.speed(4, servers=2) < job.speed(4, servers=1)
    assert job.speed(3) == 0
    assert replace(job, elastic=True).speed(3) > 0


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="more than the 8 GPUs"):
        simulate([Job(0, 0, 9, 1)], CLUSTER, policies.fifo)
    with pytest.raises(ValueError, match="gave out 9 GPUs of 8"):
        simulate([Job(0, 0, 8, 1)], CLUSTER, lambda now, active, total: {0: 9})


def test_random_jobs_are_the_same_for_a_seed_and_utilisation_is_a_share():
    jobs = random_jobs(30, load=0.8, seed=1, gpus=8)
    assert jobs == random_jobs(30, load=0.8, seed=1, gpus=8)
    result = simulate(jobs, CLUSTER, policies.backfilling)
    assert 0 < result.utilisation() <= 1
    assert math.isfinite(result.completion.mean())


def test_a_summary_holds_the_means_over_jobs_and_traces():
    jobs = [Job(0, 0, 4, 400, deadline=90), Job(1, 0, 4, 400, deadline=200)]
    late = [replace(job, arrival=50) for job in jobs]
    found = policies.simulate_each({"fifo": (policies.fifo, {})}, [jobs, late], Cluster(1, 4))["fifo"]
    summary = summarise(found)
    assert summary.completion == pytest.approx(150)
    assert summary.first_minute == pytest.approx((60 + 160) / 2)
    assert summary.missed == pytest.approx(0.75)
    assert summary.latest == pytest.approx(199)


def test_a_trace_has_the_load_that_was_asked_for():
    jobs = random_jobs(80, load=0.7, seed=3, gpus=8)
    assert sum(job.duration * job.gpus for job in jobs) == pytest.approx(0.7 * 8 * jobs[-1].arrival)
    with pytest.raises(ValueError, match="above 0"):
        random_jobs(5, load=0, seed=0)


def test_easy_backfilling_does_not_delay_the_first_in_the_queue_and_greedy_does():
    # Job 1 needs both GPUs. Job 0 ends after 10 seconds; job 2 would take 30 on the free GPU.
    jobs = [Job(0, 0, 1, 10), Job(1, 1, 2, 20), Job(2, 2, 1, 30), Job(3, 3, 1, 5)]
    pair = Cluster(1, 2)
    greedy, easy = simulate(jobs, pair, policies.backfilling), simulate(jobs, pair, policies.easy)
    assert greedy.ends[1] == pytest.approx(42)
    assert easy.ends[1] == pytest.approx(20)
    assert easy.ends[3] == pytest.approx(8)  # it passes, because it ends before the reservation


def test_orders_of_those_that_wait():
    jobs = [Job(0, 0, 1, 10), Job(1, 1, 1, 30, deadline=45), Job(2, 2, 1, 5, deadline=90)]
    one = Cluster(1, 1)
    assert simulate(jobs, one, policies.shortest).ends == pytest.approx({0: 10, 2: 15, 1: 45})
    assert simulate(jobs, one, policies.by_deadline).ends == pytest.approx({0: 10, 1: 40, 2: 45})


def test_in_two_queues_a_new_job_interrupts_one_that_has_used_its_share():
    jobs = [Job(0, 0, 4, 4 * 300), Job(1, 100, 4, 4 * 10)]
    result = simulate(jobs, Cluster(1, 4), policies.two_queues, slice_=10)
    assert result.ends == pytest.approx({0: 310, 1: 110})


def test_a_job_that_chooses_its_size_once_takes_what_is_free_and_keeps_it():
    jobs = [Job(0, 0, 3, 30, elastic=True), Job(1, 0, 4, 40, elastic=True)]
    result = simulate(jobs, Cluster(1, 4), policies.moldable)
    assert {len(p.gpus) for p in result.intervals if p.job == 1} == {1}
    assert result.ends == pytest.approx({0: 10, 1: 40})


def test_ratios_are_taken_trace_by_trace():
    jobs = [Job(0, 0, 1, 10), Job(1, 0, 1, 10)]
    one = [simulate(jobs, Cluster(1, 1), policies.fifo)]
    two = [simulate(jobs, Cluster(1, 2), policies.fifo)]
    assert ratios(one, two) == pytest.approx([1.5])
