"""The lecture's models: cuts of a network, delays, staleness, sharding, federated averaging, channels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from week02_distributed import channels, federated, parallelism, sharded_server, staleness


@settings(deadline=None)
@given(shape=st.tuples(*[st.integers(1, 9)] * 4), workers=st.integers(1, 5), seed=st.integers(0, 99))
def test_every_cut_gives_the_gradients_of_one_worker(shape, workers, seed):
    batch, inputs, hidden, outputs = shape
    rng = np.random.default_rng(seed)
    args = [
        rng.normal(size=s) for s in ((batch, inputs), (batch, outputs), (inputs, hidden), (hidden, outputs))
    ]
    whole = parallelism.gradients(*args)
    for cut, _ in (
        parallelism.data_parallel(*args, workers),
        parallelism.model_parallel(*args),
        parallelism.operator_parallel(*args, workers),
    ):
        for mine, theirs in zip(cut, whole, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-9)


def test_bytes_of_the_cuts():
    x, y = np.zeros((6, 3)), np.zeros((6, 2))
    first, second = np.zeros((3, 5)), np.zeros((5, 2))
    assert parallelism.data_parallel(x, y, first, second, 3)[1] == 2 * 2 * (15 + 10) * 8
    assert parallelism.model_parallel(x, y, first, second)[1] == 2 * 6 * 5 * 8
    assert parallelism.operator_parallel(x, y, first, second, 3)[1] == 2 * 2 * 6 * 2 * 8


def test_volumes_cross_where_the_batch_is_twice_the_width():
    found = parallelism.volumes([8, 16, 32], width=8)
    assert found["data"] == [4 * 64 * 8] * 3
    assert found["model"] == found["operator"] == [2 * 8 * batch * 8 for batch in (8, 16, 32)]
    assert parallelism.largest_difference(8, width=8) < 1e-12


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_largest_stable_step_is_where_the_path_stops_shrinking(delay):
    assert staleness.measure_stable_step(delay) == pytest.approx(
        staleness.largest_stable_step(delay), rel=0.01
    )


def test_gradient_of_the_digits_task_is_that_of_its_loss():
    task, rng = staleness.Digits(), np.random.default_rng(0)
    weights = rng.normal(size=(65, 10)) * 0.1
    found = task.gradient(weights, np.arange(len(task.labels)))
    for index in [(0, 0), (20, 3), (64, 9)]:
        shift = np.zeros_like(weights)
        shift[index] = 1e-5
        slope = (task.loss(weights + shift) - task.loss(weights - shift)) / 2e-5
        assert slope == pytest.approx(found[index], rel=1e-4, abs=1e-7)


@settings(deadline=None, max_examples=8)
@given(workers=st.integers(1, 6), bound=st.integers(0, 4), seed=st.integers(0, 9))
def test_no_worker_computes_on_weights_older_than_the_bound_allows(workers, bound, seed):
    durations = np.random.default_rng(seed).uniform(0.5, 3, workers)
    run = staleness.simulate(durations, 30, 0.1, bound=bound, seed=seed)
    assert run.staleness.max() <= (workers - 1) * (2 * bound + 1)
    assert np.all(np.diff(run.seconds) >= 0)


def test_one_worker_is_never_stale():
    assert staleness.simulate([1.0], 30, 0.1).staleness.max() == 0


def test_synchronous_rounds_last_as_long_as_the_slowest_worker():
    run = staleness.simulate([1.0, 1.0, 5.0], 30, 0.1, bound=0)
    assert run.seconds[-1] > 10 * 5 * 0.8


@given(requests=st.lists(st.integers(1, 1000), min_size=8, max_size=60), servers=st.integers(1, 8))
def test_placement_serves_every_request_once(requests, servers):
    requests = np.sort(np.array(requests))[::-1]
    for placement in ("ranges", "striped"):
        load = sharded_server.load_by_server(requests, servers, placement)
        assert load.shape == (servers,)
        assert load.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="striped"):
        sharded_server.load_by_server(requests, servers, "random")


def test_a_link_limits_a_server_and_all_bytes_arrive():
    # No slack: the last piece leaves no earlier than all bytes of its server take, however busy the machine is.
    assert sharded_server.pull_bandwidth(2, 2, 400_000, link=2e6, pulls=1) <= 2 * 2e6


def test_shards_of_federated_clients_hold_every_example_once():
    data, _ = federated.digits()
    for split in (federated.alike, federated.skewed):
        clients = split(data, 20)
        assert sum(len(client) for client in clients) == len(data)
        images = np.concatenate([client.images for client in clients])
        assert images.sum() == pytest.approx(data.images.sum())
    # A piece of sorted labels holds one digit, or two where they meet: four per client at most.
    assert max(len(set(client.labels)) for client in federated.skewed(data, 20)) <= 4


def test_one_full_batch_step_on_all_clients_is_one_step_on_all_data():
    data, _ = federated.digits()
    clients, model = federated.alike(data, 7), federated.new_model()
    models = [federated.client_update(model, client, 1, None, 0.5, 0) for client in clients]
    together = federated.average(models, [len(client) for client in clients])
    for mine, expected in zip(together, federated.client_update(model, data, 1, None, 0.5, 0), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_every_channel_delivers_and_larger_messages_are_not_free():
    sizes = [64, 2**20]
    found = channels.measure(sizes, rounds=2)
    assert set(found) == set(channels.CHANNELS)
    assert all(seconds.shape == (2,) and seconds.min() > 0 for seconds in found.values())


@given(latency=st.floats(1e-6, 1e-2), bandwidth=st.floats(1e6, 1e10))
def test_fit_finds_latency_and_bandwidth_of_exact_times(latency, bandwidth):
    sizes = np.array([2**k for k in range(4, 34, 3)])
    found = channels.fit(sizes, latency + sizes / bandwidth)
    assert found == pytest.approx((latency, bandwidth), rel=1e-3)


def test_rounds_to_a_goal_count_from_one():
    assert federated.rounds_to(np.array([0.2, 0.9, 0.8]), 0.9) == 2
    assert federated.rounds_to(np.array([0.2]), 0.9) == math.inf
