"""The roofline model and its operations: the arithmetic of the model, and the counts of FLOP and bytes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from effdl.bench import Comparison
from effdl.device import Ceilings
from week01_intro import gpu, roofline
from week01_intro.roofline import attainable, conv3x3, elementwise, matmul, measure, predict

CEILINGS = Ceilings(bandwidth=1e10, flops=1e11, dtype=torch.float32, threads=1)

positive = st.floats(1, 1e15)


@given(positive, positive)
def test_time_is_never_below_either_ceiling_and_reaches_one_of_them(flops, nbytes):
    seconds = roofline.seconds(flops, nbytes, CEILINGS)
    assert seconds >= flops / CEILINGS.flops
    assert seconds >= nbytes / CEILINGS.bandwidth
    assert math.isclose(flops / seconds, attainable(flops / nbytes, CEILINGS), rel_tol=1e-9)


def test_roof_bends_at_the_ridge():
    assert attainable(CEILINGS.ridge, CEILINGS) == pytest.approx(CEILINGS.flops)
    assert attainable(CEILINGS.ridge / 2, CEILINGS) == pytest.approx(CEILINGS.flops / 2)
    assert attainable(CEILINGS.ridge * 2, CEILINGS) == CEILINGS.flops


@pytest.mark.parametrize("operation", [matmul(8, 16, 32), conv3x3(2, 8, 12)])
def test_flops_of_products_match_the_count_of_pytorch(operation):
    with FlopCounterMode(display=False) as counter:
        operation.run()
    assert counter.get_total_flops() == operation.flops


@pytest.mark.parametrize(("name", "arrays"), [("copy", 2), ("add", 3), ("ReLU", 2), ("sum", 1)])
def test_bytes_of_elementwise_operations_count_every_array_once(name, arrays):
    assert elementwise(1000)[name].nbytes == arrays * 4000


def test_measured_ceilings_predict_their_own_probes(monkeypatch):
    operations = {
        "copy": elementwise(2**16)["copy"],
        "square matmul": matmul(64, 64, 64),
        "add": elementwise(2**16)["add"],
    }
    ran = []

    # Times by hand: on a busy machine a small product may be quicker than the move of its bytes, and all are real.
    def timed(functions, pairs):
        for name, run in functions.items():
            run()
            ran.append(name)
        return Comparison({"copy": [2e-5, 3e-5, 9e-3], "square matmul": [5e-5, 4e-5, 6e-5], "add": [1, 2, 3]})

    monkeypatch.setattr(roofline, "compare", timed)
    times, ceilings = measure(operations, pairs=3)
    assert ran == list(operations)
    assert (times.median("copy"), times.median("square matmul")) == (3e-5, 5e-5)
    for probe in roofline.PROBES:
        assert predict(operations[probe], ceilings) == pytest.approx(times.median(probe))


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_gelu_in_blocks_and_in_steps_are_that_of_pytorch(block):
    x = torch.randn(300)
    right = torch.nn.functional.gelu(x, approximate="tanh")
    torch.testing.assert_close(roofline.gelu_in_steps(x), right)
    torch.testing.assert_close(roofline.gelu_in_blocks(x, torch.empty_like(x), block), right)


@pytest.mark.parametrize(
    ("flops", "nbytes", "said"), [(1, 1, "overhead"), (1e6, 9e6, "bandwidth"), (9e6, 1e6, "compute")]
)
def test_the_limit_is_the_largest_of_three_times(flops, nbytes, said):
    ceilings = Ceilings(bandwidth=1e9, flops=1e9, dtype=torch.float32, threads=1)
    assert roofline.limit(flops, nbytes, ceilings, overhead=1e-3) == said


@pytest.mark.parametrize(("registers", "warps"), [(1, 64), (32, 64), (33, 51), (64, 32), (128, 16), (255, 8)])
def test_registers_limit_the_warps_of_a_multiprocessor(registers, warps):
    assert gpu.resident_warps(registers) == warps
