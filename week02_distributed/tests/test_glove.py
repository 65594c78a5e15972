"""GloVe's loss, gradients and steps; the trap of repeated indices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from week02_distributed import glove


def rows(pairs, dim, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(pairs, dim + 1)), rng.normal(size=(pairs, dim + 1)), rng.uniform(0.1, 300, pairs)


def test_weights_follow_the_paper_at_and_around_its_limit():
    found = glove.weights(np.array([0.0, 6.25, 100.0, 1e6]))
    np.testing.assert_allclose(found, [0, 0.125, 1, 1])


def test_gradients_are_those_of_the_sum_of_weighted_squared_errors():
    focus, context, counts = rows(5, 3)
    by_focus, by_context = glove.gradients(focus, context, counts)
    # Focus and context stand in the model alike, so the same differences check both.
    for found, numeric in (
        (by_focus, glove.finite_differences(focus, context, counts)),
        (by_context, glove.finite_differences(context, focus, counts)),
    ):
        np.testing.assert_allclose(numeric, found, rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(indices=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_repeated_indices_add_up(indices):
    indices, rows_ = np.array(indices), np.random.default_rng(0).normal(size=(len(indices), 3))
    expected, found = np.zeros((6, 3)), np.zeros((6, 3))
    np.add.at(expected, indices, rows_)
    distinct, sums = glove.sum_rows(indices, rows_)
    found[distinct] = sums
    assert len(set(distinct)) == len(distinct)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_training_lowers_the_loss_and_a_missing_word_is_named():
    first, second = (np.arange(400) * 7 % 20).astype(np.int32), (np.arange(400) * 3 % 20).astype(np.int32)
    pairs = first, second, (1 + (first * second) % 9).astype(np.float32)
    tables = glove.new_tables(20, 8, seed=0)
    before = glove.full_loss(tables, pairs)
    glove.train(pairs, tables, epochs=20, batch=50, seed=0, rate=0.3)
    assert glove.full_loss(tables, pairs) < 0.5 * before
    with pytest.raises(ValueError, match='"missing" is not among'):
        glove.neighbours(glove.vectors(tables), {"there": 0}, "missing")


def test_nearest_neighbour_has_the_largest_cosine():
    unit = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    assert glove.neighbours(unit, {"x": 0, "near": 1, "far": 2}, "x", 2) == ["near", "far"]
