"""Sharded state comes back whole on any number of ranks, and a simulated run loses what the formula says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from week04_large_models import restarts

COUNTS = st.integers(1, 9)


@given(st.integers(0, 60), COUNTS, COUNTS)
def test_every_rank_gets_its_shard_whatever_the_number_of_ranks_that_wrote_it(numel, saved, loaded):
    state = np.arange(numel)
    files = [state[slice(*restarts.shard(numel, saved, rank))] for rank in range(saved)]
    got = []
    for rank in range(loaded):
        start, stop = restarts.shard(numel, loaded, rank)
        mine = np.full(stop - start, -1)
        for piece in restarts.reads(numel, saved, loaded, rank):
            taken = files[piece.saved_by][piece.start : piece.stop]
            assert 0 < len(taken) == piece.stop - piece.start
            assert (mine[piece.to : piece.to + len(taken)] == -1).all()
            mine[piece.to : piece.to + len(taken)] = taken
        got.append(mine)
    assert np.concatenate(got).tolist() == state.tolist()


@given(st.integers(1, 60), COUNTS)
def test_the_same_number_of_ranks_reads_one_file_each(numel, ranks):
    for rank in range(ranks):
        assert len(restarts.reads(numel, ranks, ranks, rank)) <= 1


@pytest.mark.parametrize(
    ("interval", "save"), [(300.0, 60.0), (1000.0, 60.0), (3000.0, 60.0), (2000.0, 4000.0)]
)
def test_simulated_runs_lose_the_time_of_the_formula(interval, save):
    work, restart, mean = 2e6, 300.0, 10_000.0
    runs = [restarts.simulate(work, interval, save, restart, mean, seed)[-1][0] for seed in range(5)]
    # About a thousand failures: the mean scatters by a few percent of the overhead.
    assert np.mean(runs) / work - 1 == pytest.approx(
        restarts.overhead(interval, save, restart, mean), rel=0.15
    )


@given(st.floats(1, 100), st.floats(1, 300), st.floats(5_000, 100_000))
def test_no_other_interval_is_better_by_more_than_a_hundredth_of_the_run(save, restart, mean):
    best = restarts.best_interval(save, mean)
    least = restarts.overhead(best, save, restart, mean)
    others = [restarts.overhead(best * factor, save, restart, mean) for factor in np.geomspace(0.2, 5, 40)]
    assert least <= min(others) + 0.01


def test_without_failures_a_run_takes_its_work_and_its_saves():
    points = restarts.simulate(100.0, 30.0, 2.0, 5.0, 1e12)
    assert points == [(0.0, 0.0), (32.0, 30.0), (64.0, 60.0), (96.0, 90.0), (108.0, 100.0)]


def test_saved_work_never_shrinks_and_ends_whole():
    points = restarts.simulate(1000.0, 50.0, 5.0, 10.0, 100.0, seed=3)
    times, saved = zip(*points, strict=True)
    assert list(times) == sorted(times)
    assert list(saved) == sorted(saved)
    assert saved[-1] == 1000.0
    assert len(points) > 1000 / 50 + 5  # so there were failures
