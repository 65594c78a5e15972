"""HOGWILD! and the parameter server: same losses as alone, staleness within its bound, failures heard."""

import math
import multiprocessing

import numpy as np
import pytest

from week02_distributed import glove, hogwild, parameter_server
from week02_distributed.processes import WorkerFailed

WORDS, DIM = 60, 8


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(WORDS, size=(2, 6000)).astype(np.int32)
    return first, second, (1 + (first * second) % 11 + rng.random(6000)).astype(np.float32)


@pytest.fixture(scope="module")
def alone(pairs):
    tables = glove.new_tables(WORDS, DIM, seed=0)
    glove.train(pairs, tables, epochs=6, batch=200, seed=0, rate=0.3)
    return glove.full_loss(tables, pairs)


def test_hogwild_comes_near_the_loss_of_one_process_and_every_pair_is_done(pairs, alone):
    run = hogwild.train(pairs, WORDS, DIM, workers=2, epochs=6, batch=200, rate=0.3)
    assert run.history[-1, 1] == 6 * 6000
    # Every batch touches most of the 60 words: collisions are far denser than in text, and cost some progress. If all
    # that one worker does were overwritten, half of the pairs would be trained: 4 times the loss.
    assert glove.full_loss(run.tables, pairs) < 5 * alone < 0.1 * run.history[0, 2]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("bound", [0, 2, math.inf])
def test_server_reaches_the_loss_of_one_process_within_its_staleness_bound(pairs, alone, bound):
    workers = 3
    run = parameter_server.train(pairs, WORDS, DIM, workers, epochs=6, batch=200, rate=0.3, bound=bound)
    assert run.history[-1, 1] == 6 * 6000
    # Where the workers run one after the other, as on a busy machine, the loss is up to 1.16 times that.
    assert glove.full_loss(run.tables, pairs) < 1.3 * alone
    assert len(run.staleness) == 6 * 3 * math.ceil(2000 / 200)
    # Between a pull and its push every other worker can push at most bound + 1 batches ahead, and bound behind.
    assert run.staleness.max() <= (workers - 1) * (2 * bound + 1)
    assert not multiprocessing.active_children()


def test_a_worker_that_fails_is_heard(pairs):
    # A batch of 0 pairs fails in the workers: range() takes no step of 0.
    with pytest.raises(WorkerFailed, match="ValueError"):
        hogwild.train(pairs, WORDS, DIM, workers=2, epochs=1, batch=0, rate=0.3)
    with pytest.raises(WorkerFailed):
        parameter_server.train(pairs, WORDS, DIM, workers=2, epochs=1, batch=0, rate=0.3)
    assert not multiprocessing.active_children()


def test_shared_array_is_a_copy_with_the_same_values_and_type():
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    shared = hogwild.SharedArray.copy_of(values)
    values[0, 0] = 9
    assert shared.array.dtype == np.int16
    np.testing.assert_array_equal(shared.array, [[0, 1, 2], [3, 4, 5]])


def test_time_to_a_loss_is_interpolated_and_infinite_if_never_reached():
    run = hogwild.Run({}, np.array([[0, 0, 4.0], [1, 10, 2.0], [2, 20, 3.0], [3, 30, 1.0]]), 3.0)
    assert run.seconds_to(3.0) == pytest.approx(0.5)
    assert run.seconds_to(1.5) == pytest.approx(2.5)
    assert run.seconds_to(0.5) == math.inf
