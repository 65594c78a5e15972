"""Measurements of the CPU: what they run over is what they say. No test looks at a clock's value."""

import numpy as np
import pytest

from week01_intro import hardware


@pytest.mark.parametrize("shuffled", [False, True])
def test_ring_visits_every_node_once_and_closes(shuffled):
    ring = hardware.ring(1000, shuffled)
    seen = [hardware.walk(ring, steps) for steps in range(1000)]
    assert hardware.walk(ring, 1000) == 0
    assert sorted(seen) == list(range(1000))
    jumps = np.abs(np.diff(seen)) > 1
    assert jumps.mean() > 0.9 if shuffled else not jumps.any()


def test_measurements_have_one_positive_time_per_size():
    sizes = [4096, 8192]
    assert len(hardware.read_bandwidth(sizes, rounds=1, traffic=2**16)) == 2
    in_order, shuffled = hardware.step_seconds([16, 32], steps=10, rounds=1)
    assert len(in_order) == len(shuffled) == 2
    assert min(in_order + shuffled) > 0
    assert set(hardware.compare_strides((1, 16), values=2**10, pairs=2).timings) == {"1", "16"}


def test_caches_are_those_for_data_of_core_0_whose_size_the_system_knows(tmp_path, monkeypatch):
    # Linux on ARM has entries without a size, where the firmware does not tell it.
    entries = [("Data", 1, "48K"), ("Instruction", 1, "32K"), ("Unified", 2, "2M"), ("Unified", 3, None)]
    for number, (kind, level, size) in enumerate(entries):
        folder = tmp_path / f"cpu0/cache/index{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "level").write_text(f"{level}\n")
        if size:
            (folder / "size").write_text(f"{size}\n")
    monkeypatch.setattr(hardware, "CPU_FOLDER", tmp_path)
    assert hardware.caches() == {"L1": 48 * hardware.KIB, "L2": 2 * hardware.MIB}
    monkeypatch.setattr(hardware, "CPU_FOLDER", tmp_path / "none")
    assert hardware.caches() == {}


def test_caches_of_this_machine_have_a_size():
    assert all(size > 0 for size in hardware.caches().values())


def test_both_simd_workers_answer_and_end():
    seconds = hardware.simd_seconds(("add",), rounds=2)
    assert set(seconds) == {"add"}
    assert all(0 < value < float("inf") for value in seconds["add"])
