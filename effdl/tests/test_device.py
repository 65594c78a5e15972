import os
import platform
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


def test_description_names_the_chip_and_torch_but_no_host(monkeypatch):
    # A name of ours: a real one may be part of any line, as "torch" is, or "xeon".
    here = os.uname()
    ours = os.uname_result([here.sysname, "the-host-itself", here.release, here.version, here.machine])
    monkeypatch.setattr(os, "uname", lambda: ours)
    monkeypatch.setattr(platform, "node", lambda: ours.nodename)
    monkeypatch.setattr(socket, "gethostname", lambda: ours.nodename)
    text = device.describe()
    assert torch.__version__ in text
    assert "\n" not in text
    assert ours.nodename not in text


XEON = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz
flags\t\t: fpu avx512f amx_tile

processor\t: 1
model\t\t: 99
"""


def test_the_kind_of_a_machine_is_its_processor_instruction_sets_and_cores(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(XEON)
    monkeypatch.setattr(device, "Path", lambda _: tmp_path / "cpuinfo")
    device.cpu_model.cache_clear()
    monkeypatch.setattr(device, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(device, "cores", lambda: 1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for name in ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"):
        monkeypatch.delenv(name, raising=False)
    try:
        assert device.kind_label() == "Intel Xeon Platinum 8259CL 6-85, AVX512 AMX, 1 core"
        assert device.kind() == "intel-xeon-platinum-8259cl-6-85-avx512-amx-1-core"
        # A library that is held down makes another machine of it.
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        assert device.kind() == "intel-xeon-platinum-8259cl-6-85-avx512-onednn-sse41-1-core"
    finally:
        device.cpu_model.cache_clear()


def test_the_kind_names_a_machine_without_processor_fields(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_cpuinfo", dict)
    monkeypatch.setattr(device, "cpu_model", lambda: "Apple M2")
    assert device.processor() == "Apple M2"


def test_the_core_is_one_that_this_thread_may_use():
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    assert device.core() in allowed


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


@pytest.mark.parametrize(
    ("cache", "free", "expected"),
    [
        (20, 10_000, 80),  # four caches
        (1, 10_000, 64),  # but not so little that the call itself would be measured
        (20, 300, 30),  # and never more than a tenth of the free memory
    ],
)
def test_bandwidth_buffers_do_not_fit_in_the_cache(monkeypatch, cache, free, expected):
    sizes = []

    def spy(kernels, calls, seconds):
        kernels[0]()
        sizes.append(kernels[0].__closure__[0].cell_contents.nbytes)
        return [1.0] * len(kernels)

    monkeypatch.setattr(device, "_best_times", spy)
    monkeypatch.setattr(device, "last_level_cache", lambda: cache * device.MIB)
    monkeypatch.setattr(device, "_free_memory", lambda: free * device.MIB)
    monkeypatch.setattr(device, "scale", lambda cpu, gpu: cpu)
    assert device._bandwidth() == 3 * sizes[0]  # triad moves the most bytes in equal time
    assert sizes[0] == expected * device.MIB


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
