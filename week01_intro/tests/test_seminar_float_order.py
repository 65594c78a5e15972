"""Rounding errors stay below the bounds that the seminar plots, for any data and any order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from week01_intro import float_order

FLOATS = st.floats(-(2**20), 2**20, width=32).filter(lambda x: x == 0 or abs(x) > 2**-60)


@settings(deadline=None)
@given(st.integers(0, 9).flatmap(lambda k: arrays(np.float32, 2**k, elements=FLOATS)))
def test_sums_stay_within_the_bound_of_their_order(values):
    exact, n = float_order.exact_sum(values), values.size
    assert abs(float_order.left_to_right(values) - exact) <= float_order.sum_bound(n - 1, values)
    assert abs(float_order.pairwise(values) - exact) <= float_order.sum_bound(n.bit_length() - 1, values)
    assert abs(float_order.torch_sum(values) - exact) <= float_order.sum_bound(n - 1, values)


def test_left_to_right_really_adds_in_float32_from_the_left():
    values = np.array([2.0**24, 1, 1, 1, 1], dtype=np.float32)
    assert float_order.left_to_right(values) == 2.0**24
    assert float_order.left_to_right(values[::-1].copy()) == 2.0**24 + 4


def test_pairwise_refuses_what_is_no_binary_tree():
    with pytest.raises(ValueError, match="not 3"):
        float_order.pairwise(np.ones(3, dtype=np.float32))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 64), st.integers(1, 12), st.integers(0, 1000))
def test_matrix_powers_stay_within_their_bound(n, exponent, seed):
    matrix = float_order.transition_matrix(n, seed)
    reference = float_order.power(matrix.double(), exponent)
    error = float_order.largest_relative_error(float_order.power(matrix, exponent), reference)
    # float64 has its own rounding error, 2**29 times smaller.
    assert error <= float_order.power_bound(n, exponent) * (1 + 1e-6) + 1e-12


def test_power_multiplies_exponent_minus_one_times():
    matrix = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    assert torch.equal(float_order.power(matrix, 5), torch.tensor([[32.0, 0.0], [0.0, 243.0]]))
