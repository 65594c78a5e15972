"""Drift monitors: their statistics against scipy's, their run lengths against those that they state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from week09_experiment_tracking.drift import Cusum, Windows, cusum_limit


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), decimals=st.integers(0, 3))
def test_distance_is_scipys_even_where_values_occur_many_times(seed, decimals):
    rng = np.random.default_rng(seed)
    reference, windows = (
        rng.normal(size=(400, 2)).round(decimals),
        rng.normal(0.3, size=(2, 30, 2)).round(decimals),
    )
    ours = Windows(reference, 1_000, 30).distances(windows)
    peer = [[stats.ks_2samp(reference[:, i], window[:, i]).statistic for i in range(2)] for window in windows]
    np.testing.assert_allclose(ours, peer, atol=1e-12)


@pytest.mark.parametrize("kind", [Cusum, Windows])
def test_alarms_do_not_depend_on_how_the_stream_is_cut(kind):
    rng = np.random.default_rng(1)
    reference, stream = rng.normal(size=(1_000, 3)), rng.normal(0.2, size=(3_000, 3))
    whole = kind(reference, 2_000, 50).update(stream)
    monitor = kind(reference, 2_000, 50)
    pieces = [
        alarm
        for piece in np.split(stream, np.sort(rng.integers(0, 3_000, 40)))
        for alarm in monitor.update(piece)
    ]
    assert whole == pieces
    assert whole


@pytest.mark.parametrize("kind", [Cusum, Windows])
@pytest.mark.parametrize("features", [1, 10])
def test_run_length_without_drift_is_the_stated_one_however_many_features(kind, features):
    # About 60 alarms are expected; the bounds are four standard deviations of a count that is that of Poisson, and
    # wider for the references, which differ.
    rng, rows, alarms = np.random.default_rng(2), 0, 0
    for _ in range(30):
        monitor = kind(rng.normal(size=(2_000, features)), 5_000, 50)
        alarms += len({alarm.row for alarm in monitor.update(rng.normal(size=(10_000, features)))})
        rows += 10_000
    assert 0.55 <= rows / alarms / 5_000 <= 2.2


def test_limit_without_doubt_gives_siegmunds_tabled_run_length():
    # Two-sided, slack 0.5 and limit 5: 465 steps (Montgomery, *Statistical Quality Control*, table 9.3).
    assert cusum_limit(465, 0.5) == pytest.approx(5, abs=0.03)


def test_limit_grows_with_run_length_and_with_doubt_about_the_reference():
    assert cusum_limit(100, 0.5) < cusum_limit(1_000, 0.5) < cusum_limit(1_000, 0.5, unsure=0.2)


def test_a_shift_of_one_feature_is_named_and_found_soon():
    rng = np.random.default_rng(3)
    monitor = Cusum(rng.normal(size=(2_000, 4)), 100_000, 50, names="abcd")
    stream = rng.normal(size=(2_000, 4))
    stream[:, 2] += 0.5
    first = monitor.update(stream)[0]
    assert first.feature == "c"
    assert first.row <= 500
    assert first.level > 1
    assert set(monitor.levels()) == set("abcd")


@pytest.mark.parametrize(
    ("reference", "options", "words"),
    [
        (np.zeros((20, 1)), {}, "ten steps"),
        (np.full((5_000, 1), np.nan), {}, "finite"),
        (np.random.default_rng(0).normal(size=(5_000, 2)), {"names": ["a"]}, "1 names for 2 features"),
        (np.zeros((5_000, 1)), {}, "never changes"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused_in_words(reference, options, words):
    with pytest.raises(ValueError, match=words):
        Cusum(reference, 10_000, 50, **options)


def test_a_run_length_under_two_steps_is_refused():
    with pytest.raises(ValueError, match="always alarm"):
        Windows(np.random.default_rng(0).normal(size=(5_000, 1)), 300, 200)
