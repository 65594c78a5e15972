"""The lecture's models: cuts of a network, delays, staleness, sharding, federated averaging, channels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from week02_distributed import (
    channels,
    federated,
    interpreter_lock,
    parallelism,
    sharded_server,
    staleness,
    start_methods,
    straggler,
)


@pytest.mark.parametrize("cut", parallelism.CUTS)
def test_every_cut_gives_the_gradients_of_one_worker(cut):
    rng = np.random.default_rng(0)
    shapes = [(7, 3, 5, 2), (1, 2, 4, 3)]  # batch, inputs, hidden, outputs
    problems = [[rng.normal(size=s) for s in ((b, i), (b, o), (i, h), (h, o))] for b, i, h, o in shapes]
    for arrays, both in zip(problems, parallelism.both_workers(cut, problems), strict=True):
        first, second, x = parallelism.gradients(*arrays)
        left, right = (slopes for slopes, _ in both)
        if cut == "data":
            for mine in (left, right):
                np.testing.assert_allclose(mine[0], first, atol=1e-12)
                np.testing.assert_allclose(mine[1], second, atol=1e-12)
            np.testing.assert_allclose(np.vstack([left[2], right[2]]), x, atol=1e-12)
        elif cut == "model":
            np.testing.assert_allclose(left[0], first, atol=1e-12)
            np.testing.assert_allclose(left[1], x, atol=1e-12)
            np.testing.assert_allclose(right[0], second, atol=1e-12)
        else:
            np.testing.assert_allclose(np.hstack([left[0], right[0]]), first, atol=1e-12)
            np.testing.assert_allclose(np.vstack([left[1], right[1]]), second, atol=1e-12)
            for mine in (left, right):
                np.testing.assert_allclose(mine[2], x, atol=1e-12)


def test_processes_write_the_bytes_of_the_formula_and_a_few_headers():
    found = parallelism.volumes([16, 64], width=32)
    for cut, counted in found.items():
        for batch, sent in zip([16, 64], counted, strict=True):
            formula = parallelism.formula(cut, batch, 32)
            assert formula <= sent <= formula + 64
    assert parallelism.formula("data", 64, 32) == parallelism.formula("model", 64, 32)


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


def test_a_synchronous_round_is_one_fresh_step_with_the_mean_of_its_gradients():
    run = staleness.simulate([1.0] * 4, 40, 0.1, bound=0)
    assert run.staleness.tolist() == [0] * 40
    assert len(run.losses) == 10
    assert run.pushes[-1] == 40


def test_the_rule_scales_the_step_by_the_age():
    run = staleness.simulate([1.0] * 4, 40, 0.2, rule=lambda age: 1 / (1 + age))
    np.testing.assert_allclose(run.steps, 0.2 / (1 + run.staleness))


def test_real_workers_learn_as_simulated_ones_and_wait_for_the_slowest():
    durations = [0.005] * 3 + [0.03]
    waiting = straggler.train(durations, 40, 0.2, bound=0)
    assert waiting.staleness.max() == 0
    assert waiting.seconds[-1] >= 10 * 0.03  # ten rounds, each as long as the slowest worker
    free = straggler.train(durations, 40, 0.2)
    assert free.pushes[-1] == 40
    assert free.losses[-1] < 0.8 * free.losses[0]
    simulated = staleness.simulate(durations, 40, 0.2, bound=0)
    assert waiting.losses[-1] == pytest.approx(simulated.losses[-1], rel=0.2)


def test_synchronous_rounds_last_as_long_as_the_slowest_worker():
    run = staleness.simulate([1.0, 1.0, 5.0], 30, 0.1, bound=0)
    assert run.seconds[-1] > 10 * 5 * 0.8


def test_placement_gives_every_word_one_owner():
    assert sharded_server.owners(8, 4, "ranges").tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sharded_server.owners(8, 4, "striped").tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    with pytest.raises(ValueError, match="striped"):
        sharded_server.owners(8, 4, "random")


def test_servers_carry_the_rows_that_they_own_and_no_more():
    words = np.array([0] * 60 + [1] * 20 + [2] * 10 + [3] * 10, np.int32)
    per_pair = sharded_server.serve_batches(words, 4, 400, 100, 2, "ranges", dedup=False)
    assert sharded_server.busiest(per_pair) == pytest.approx(1.6, rel=0.05)
    once = sharded_server.serve_batches(words, 4, 400, 100, 2, "ranges")
    assert sharded_server.busiest(once) == pytest.approx(1, rel=0.05)
    assert sum(once) < sum(per_pair) / 10


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


def test_a_small_fit_says_how_far_off_the_largest_message_is():
    sizes = np.array([2**k for k in range(6, 23)])
    seconds = 2e-5 + sizes / 4e9
    seconds[-1] *= 3
    latency, bandwidth, off = channels.fit_small(sizes, seconds)
    assert (latency, bandwidth, off) == pytest.approx((2e-5, 4e9, 3), rel=1e-3)


def test_forks_inherit_the_generator_and_fresh_interpreters_do_not():
    drawn = start_methods.in_fresh_process()["drawn"]
    assert len(set(drawn["spawn"])) == len(set(drawn["forkserver"])) == 2
    assert len(set(drawn.get("fork", [0]))) == 1


def test_amdahls_law_at_its_ends():
    np.testing.assert_allclose(interpreter_lock.amdahl_law(np.array([0, 0.5, 1]), 2), [2, 4 / 3, 1])


def test_amdahl_measures_a_speed_up_for_every_serial_share():
    shares, found, law = interpreter_lock.amdahl(pairs=1)
    np.testing.assert_allclose(shares, [0, 0.2, 0.5])
    assert found.shape == law.shape == (3,)
    assert found[0] == pytest.approx(law[0])


def test_one_local_step_with_equal_batches_is_a_step_with_the_mean_gradient():
    data, _ = federated.digits()
    clients = federated.alike(data, 3)
    start, found = federated.new_model(0), federated.local_sgd(clients, 1, 1, 0.5)
    rngs = [np.random.default_rng([0, client]) for client in range(3)]
    batches = [rng.integers(len(client), size=10) for rng, client in zip(rngs, clients, strict=True)]
    slopes = [
        federated.gradient(start, client.images[b], client.labels[b])
        for client, b in zip(clients, batches, strict=True)
    ]
    for layer, new, *by_client in zip(start, found, *slopes, strict=True):
        np.testing.assert_allclose(new, layer - 0.5 * np.mean(by_client, axis=0), atol=1e-12)


def test_outer_momentum_carries_the_last_change_on():
    clients = [federated.digits()[0]]
    plain, heavy = (federated.local_sgd(clients, 2, 3, 0.1, 1.0, momentum) for momentum in (0.0, 0.9))
    assert federated.loss(heavy, clients[0]) < federated.loss(plain, clients[0])


@given(latency=st.floats(1e-6, 1e-2), bandwidth=st.floats(1e6, 1e10))
def test_fit_finds_latency_and_bandwidth_of_exact_times(latency, bandwidth):
    sizes = np.array([2**k for k in range(4, 34, 3)])
    found = channels.fit(sizes, latency + sizes / bandwidth)
    assert found == pytest.approx((latency, bandwidth), rel=1e-3)


def test_rounds_to_a_goal_count_from_one():
    assert federated.rounds_to(np.array([0.2, 0.9, 0.8]), 0.9) == 2
    assert federated.rounds_to(np.array([0.2]), 0.9) == math.inf
