"""The model of asynchronous execution: order inside a stream, one kernel per engine, bounds of the total time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week01_intro.timeline import Kernel, chain, copy_and_compute, elapsed, graph, schedule

kernels = st.lists(
    st.builds(
        Kernel,
        duration=st.integers(1, 100).map(float),
        launch=st.integers(0, 50).map(float),
        stream=st.integers(0, 2),
        engine=st.sampled_from(["compute", "copy"]),
    ),
    min_size=1,
    max_size=20,
)


@given(kernels)
def test_no_stream_and_no_engine_runs_two_kernels_at_once(work):
    launches, runs = schedule(work)
    for key in ("stream", "lane"):
        for value in {getattr(run, key) for run in runs}:
            same = [run for run in runs if getattr(run, key) == value]
            assert all(a.end <= b.start for a, b in itertools.pairwise(same))
    assert all(call.end <= run.start for call, run in zip(launches, runs, strict=True))


@given(kernels)
def test_total_time_lies_between_the_busiest_part_and_no_overlap_at_all(work):
    total = elapsed(work)
    for engine in ("compute", "copy"):
        assert total >= sum(k.duration for k in work if k.engine == engine)
    launching = sum(k.launch for k in work)
    assert launching <= total <= launching + sum(k.duration for k in work)


@given(st.lists(st.integers(1, 100).map(float), min_size=1, max_size=20))
def test_free_launches_on_one_stream_take_the_sum_of_the_kernels(durations):
    assert elapsed([Kernel(d, 0.0) for d in durations]) == sum(durations)


@pytest.mark.parametrize(("duration", "total"), [(50, 210), (5, 45), (10, 50)])
def test_device_bound_launch_bound_and_balanced_chains(duration, total):
    assert elapsed(chain(4, duration, launch=10)) == total


def test_graph_pays_one_launch():
    assert elapsed(graph(4, 5, launch=10)) == 10 + 4 * 5


def test_second_stream_hides_copies_behind_computation():
    assert elapsed(copy_and_compute(4, copy=10, compute=10, launch=0, streams=1)) == 80
    assert elapsed(copy_and_compute(4, copy=10, compute=10, launch=0, streams=2)) == 50
