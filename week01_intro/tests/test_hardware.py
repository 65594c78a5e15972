"""Measurements of the CPU: what they run over is what they say. No test looks at a clock's value."""

import numpy as np
import pytest

from week01_intro import hardware


@pytest.mark.parametrize("shuffled", [False, True])
def test_ring_visits_every_node_once_and_closes(shuffled):
    walk = hardware.ring(1000, shuffled)
    at, seen = 0, []
    for _ in range(1000):
        seen.append(at)
        at = walk.indices[walk.indptr[at]]
    assert at == 0
    assert sorted(seen) == list(range(1000))
    jumps = np.abs(np.diff(seen)) > 1
    assert jumps.mean() > 0.9 if shuffled else not jumps.any()


def test_measurements_have_one_positive_time_per_size():
    sizes = [4096, 8192]
    assert len(hardware.read_bandwidth(sizes, rounds=1, traffic=2**16)) == 2
    in_order, shuffled = hardware.step_seconds([16, 32], rounds=1)
    assert len(in_order) == len(shuffled) == 2
    assert min(in_order + shuffled) > 0


def test_caches_grow_with_their_level():
    sizes = [size for _, size in sorted(hardware.caches().items())]
    assert sizes == sorted(sizes)


def test_both_simd_workers_answer_and_end():
    seconds = hardware.simd_seconds(("add",), rounds=2)
    assert set(seconds) == {"add"}
    assert all(0 < value < float("inf") for value in seconds["add"])
