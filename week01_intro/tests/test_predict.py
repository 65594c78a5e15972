"""The two models of layer time, on times that are made up: no test here looks at a clock's value."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from week01_intro import predict
from week01_intro.predict import (
    BlackBox,
    WhiteBox,
    draw_shapes,
    error,
    flops,
    measure_layers,
    nbytes,
    probe_shapes,
)

TRUE = WhiteBox(launch=1e-5, flops=1e11, bandwidth=1e10)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_white_box_finds_the_constants_that_made_its_probes(seed):
    found = WhiteBox.calibrate(TRUE.predict(probe_shapes()))
    shapes = draw_shapes(50, 16, 4096, seed)
    # the time of the smallest probe is taken as the launch; it holds 12 bytes of work as well
    assert found.predict(shapes) == pytest.approx(TRUE.predict(shapes), rel=1e-3)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_black_box_recovers_a_power_law_everywhere(seed):
    def law(s):
        return 3e-9 * s[:, 0] ** 0.9 * s[:, 1] ** 0.8 * s[:, 2] ** 1.1

    model = BlackBox.fit(train := draw_shapes(60, 16, 256, seed), law(train))
    far = draw_shapes(20, 1024, 4096, seed + 1)
    assert error(model.predict(far), law(far)) < 1e-6


def test_black_box_fitted_to_a_roofline_is_wrong_far_outside_and_good_inside():
    train, inside, outside = (
        draw_shapes(120, 16, 256, 1),
        draw_shapes(40, 16, 256, 2),
        draw_shapes(20, 1024, 4096, 3),
    )
    model = BlackBox.fit(train, TRUE.predict(train))
    assert error(model.predict(inside), TRUE.predict(inside)) < 0.1
    assert error(model.predict(outside), TRUE.predict(outside)) > 1


def test_counts_of_a_layer():
    shapes = np.array([(2, 3, 5)])
    assert flops(shapes)[0] == 2 * 2 * 3 * 5
    assert nbytes(shapes)[0] == 4 * (2 * 3 + 3 * 5 + 2 * 5)


@given(st.integers(1, 200), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_drawn_shapes_stay_in_their_range(count, seed):
    shapes = draw_shapes(count, 16, 256, seed)
    assert shapes.shape == (count, 3)
    assert shapes.min() >= 16
    assert shapes.max() <= 256


def test_measuring_layers_gives_a_time_each_and_leaves_the_threads_alone():
    before = torch.get_num_threads()
    seconds = measure_layers(draw_shapes(3, 4, 8, 0), rounds=1)
    assert seconds.shape == (3,)
    assert (seconds > 0).all()
    assert np.isfinite(seconds).all()
    assert torch.get_num_threads() == before


def test_a_clock_of_the_thread_that_stands_between_two_ticks_gives_no_time_of_zero(monkeypatch):
    ticks = itertools.count(0.0)
    clocks = SimpleNamespace(thread_time=lambda: 1.0, perf_counter=lambda: next(ticks))
    monkeypatch.setattr(predict, "time", clocks)
    assert measure_layers(draw_shapes(3, 4, 8, 0), rounds=1).tolist() == [1, 1, 1]
