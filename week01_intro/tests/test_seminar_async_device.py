"""The asynchronous device keeps the contract of CUDA streams; nothing here depends on how fast anything is."""

import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from week01_intro import incorrect_index
from week01_intro.async_device import (
    AsyncDevice,
    DeviceError,
    launch_cost,
    predict_issued,
    time_launches,
    timeline,
)

PATIENCE = 300
"""Seconds after which a wait is a hang. No test waits that long if all is well."""


@pytest.fixture
def device(monkeypatch):
    monkeypatch.delenv("CUDA_LAUNCH_BLOCKING", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    device = AsyncDevice(depth=4)
    yield device
    device.close()


def boom():
    raise ValueError("boom")


def test_launch_returns_before_the_kernel_has_run(device):
    gate, done = threading.Event(), []
    device.launch(gate.wait, PATIENCE)
    device.launch(done.append, 1)
    assert done == []
    gate.set()
    device.synchronize()
    assert done == [1]


def test_kernels_of_one_stream_run_in_the_order_of_their_launches(device):
    seen = []
    for i in range(50):
        device.launch(seen.append, i)
    device.synchronize()
    assert seen == list(range(50))


def test_queue_holds_depth_kernels_beside_the_running_one(device):
    gate, started, launched = threading.Event(), threading.Event(), []
    device.launch(lambda: (started.set(), gate.wait(PATIENCE)))
    assert started.wait(PATIENCE)

    def launch_many():
        for i in range(10):
            device.launch(lambda: None)
            launched.append(i)

    host = threading.Thread(target=launch_many)
    host.start()
    until = time.monotonic() + PATIENCE
    while len(launched) < 4 and time.monotonic() < until:
        time.sleep(0.001)
    host.join(0.5)  # time for a fifth launch, if there were room for it
    assert host.is_alive()
    assert len(launched) == 4
    gate.set()
    host.join(PATIENCE)
    assert len(launched) == 10


def test_a_stream_that_waits_for_an_event_runs_after_it(device):
    first, second = device.stream(), device.stream()
    gate, seen = threading.Event(), []
    first.launch(gate.wait, PATIENCE)
    first.launch(seen.append, "first")
    second.wait(first.record())
    second.launch(seen.append, "second")
    gate.set()
    device.synchronize()
    assert seen == ["first", "second"]


def test_streams_without_an_event_do_not_wait_for_each_other(device):
    first, second = device.stream(), device.stream()
    gate, opened = threading.Event(), []
    first.launch(lambda: opened.append(gate.wait(PATIENCE)))
    second.launch(gate.set)  # would come too late if it had to wait for the first
    device.synchronize()
    assert opened == [True]


def test_a_failed_kernel_is_reported_at_synchronize_and_nothing_runs_after_it(device):
    seen = []
    device.launch(boom)
    device.launch(seen.append, 1)
    mark = device.default.record()
    with pytest.raises(DeviceError, match="boom"):
        device.synchronize()
    mark.synchronize()
    assert seen == []
    with pytest.raises(DeviceError, match="boom"):
        device.synchronize()


def test_launch_blocking_reports_the_failure_at_the_launch(device, monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    blocking = AsyncDevice()
    with pytest.raises(ValueError, match="boom"):
        blocking.launch(boom)
    blocking.close()


def test_events_measure_the_kernel_between_them(device):
    gate = threading.Event()
    start = device.default.record()
    device.launch(gate.wait, PATIENCE)
    device.launch(time.sleep, 0.05)
    end = device.default.record()
    with pytest.raises(RuntimeError, match="synchronize"):
        start.elapsed_time(end)
    gate.set()
    end.synchronize()
    assert start.elapsed_time(end) >= 49  # sleep() never ends early, and the two clocks may differ a little


def test_timeline_puts_kernels_behind_each_other(device):
    returned, kernels = timeline(device, lambda: sum(range(1000)), 8)
    assert len(returned) == len(kernels) == 8
    assert returned == sorted(returned)
    assert all(begin <= end for begin, end in kernels)
    assert all(a[1] <= b[0] for a, b in pairwise(kernels))


def test_unsynchronised_time_leaves_out_work_still_queued(device, monkeypatch):
    gate, synchronize, calls = threading.Event(), device.synchronize, []

    def open_the_second_time():
        calls.append(1)
        if len(calls) == 2:  # all launches have been timed: now the kernels may run
            gate.set()
        synchronize()

    monkeypatch.setattr(device, "synchronize", open_the_second_time)
    issued, finished = time_launches(device, lambda: (gate.wait(PATIENCE), time.sleep(0.05)), 3)
    assert finished - issued >= 0.149
    assert launch_cost(device, lambda: None, 4) > 0


def test_a_queue_without_room_is_refused():
    with pytest.raises(ValueError, match="depth=0"):
        AsyncDevice(depth=0)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 20), st.integers(21, 1000))
def test_queue_model_agrees_with_a_simulation_of_the_queue(n, depth, launch, kernel):
    now, ends = 0, []
    for i in range(n):
        # Launch i needs a free place: all but depth + 1 of the kernels before it must have ended.
        if i > depth:
            now = max(now, ends[i - depth - 1])
        now += launch
        ends.append(max(now, ends[-1] if ends else 0) + kernel)
    predicted = predict_issued(n, launch, kernel, depth)
    assert abs(now - predicted) <= (depth + 2) * launch
    assert predicted < ends[-1]


def test_traceback_names_the_wrong_line_until_launches_block(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the message of a GPU is another one
    late, exact = incorrect_index.run(blocking=False), incorrect_index.run(blocking=True)
    assert late.code == "device.synchronize()"
    assert "all four kernels launched" in late.output
    assert exact.line == incorrect_index.culprit()
    assert "out of range" in exact.message
