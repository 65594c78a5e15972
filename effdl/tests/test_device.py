import os
import socket

import pytest
import torch

from effdl import device


@pytest.fixture(scope="module")
def measured():
    return device.ceilings()


def test_scale_follows_the_device_in_use():
    expected = "large" if torch.cuda.is_available() else "small"
    assert device.scale(cpu="small", gpu="large") == expected


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert device.cores() == 3


def test_description_names_the_chip_and_torch_but_no_host():
    text = device.describe()
    assert torch.__version__ in text
    assert "\n" not in text
    host = socket.gethostname()
    assert len(host) < 4 or host not in text


def test_ceilings_state_threads_and_dtype_and_meet_at_the_ridge(measured):
    assert measured.dtype is torch.float32
    assert measured.threads == (torch.get_num_threads() if device.device().type == "cpu" else 1)
    assert measured.ridge * measured.bandwidth == pytest.approx(measured.flops)
    assert "GB/s" in str(measured)
    assert "float32" in str(measured)


def test_ceilings_are_measured_once(measured):
    assert device.ceilings() is measured


def test_ceilings_of_integers_are_refused():
    with pytest.raises(ValueError, match=r"torch\.int8"):
        device.ceilings(torch.int8)


def test_bandwidth_buffers_do_not_fit_in_the_cache(monkeypatch):
    sizes = []

    def spy(kernels, calls, seconds):
        kernels[0]()
        sizes.append(kernels[0].__closure__[0].cell_contents.nbytes)
        return [1.0] * len(kernels)

    monkeypatch.setattr(device, "_best_times", spy)
    assert device._bandwidth() == 3 * sizes[0]  # triad moves the most bytes in equal time
    assert sizes[0] >= min(4 * device.last_level_cache(), 64 * device.MIB)


def test_the_best_sample_counts_not_the_average(monkeypatch):
    durations = iter([9.0, 4.0, 2.0, 5.0])
    now = [0.0]

    class Clock:
        perf_counter = staticmethod(lambda: now[0])

    calls = []

    def kernel():
        if calls:  # the first call warms up
            now[0] += next(durations, 100.0)
        calls.append(0)

    monkeypatch.setattr(device, "time", Clock)
    assert device._best_times([kernel], calls=1, seconds=20.0) == [2.0]
