"""The stack trains its networks as one by one, and the fits find what made the numbers."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from effdl import launch
from week03_data_parallel import batch_sweep, digits, optimizers


@pytest.mark.parametrize("adam", [False, True])
def test_a_stack_trains_each_network_as_if_it_were_alone(adam):
    rates, seeds = [0.01, 0.1], [0, 1]
    stack = batch_sweep.Stack(rates, seeds, adam)
    x, y = digits.images()
    kind = optimizers.Adam if adam else optimizers.SGD
    alone = []
    for rate in rates:
        for seed in seeds:
            model = digits.network(seed, batch_sweep.WIDTH)
            optimizer = kind(model.parameters(), rate)
            for step in range(3):
                part = slice(16 * (step + seed), 16 * (step + seed) + 16)
                optimizer.zero_grad()
                cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()
            alone.append(model)
    for step in range(3):
        parts = [slice(16 * (step + int(s)), 16 * (step + int(s)) + 16) for s in stack.seeds]
        stack.step(torch.stack([x[p] for p in parts]), torch.stack([y[p] for p in parts]))
    for number, model in enumerate(alone):
        for weight, p in zip(stack.weights, model.parameters(), strict=True):
            torch.testing.assert_close(weight[number], p.detach(), atol=1e-4, rtol=0)


def test_networks_leave_the_stack_with_all_that_is_theirs():
    stack = batch_sweep.Stack([0.1, 0.2, 0.3], [0, 1], adam=True)
    stack.keep(torch.tensor([False, True, False, False, True, False]))
    assert stack.numbers.tolist() == [1, 4]
    assert stack.seeds.tolist() == [1, 0]
    assert stack.rates.tolist() == pytest.approx([0.1, 0.3])
    assert {len(t) for t in [*stack.weights, *stack.moments[0], *stack.moments[1]]} == {2}


def test_a_rate_that_diverges_or_creeps_is_never_the_best():
    steps = batch_sweep.steps_to(1.0, 64, [1e-6, 0.3, 1000.0], [0, 1], most=120)
    assert np.isinf(steps[[0, 2]]).all()
    assert np.isfinite(steps[1]).all()
    assert batch_sweep.best(steps, [1e-6, 0.3, 1000.0]) == (0.3, float(np.median(steps[1])))


def test_fit_finds_the_least_steps_and_the_critical_batch():
    batches = [2, 8, 32, 128, 512]
    least, critical = batch_sweep.fit_noise(batches, [80 * (1 + 40 / b) for b in batches])
    assert least == pytest.approx(80, rel=0.02)
    assert critical == pytest.approx(40, rel=0.02)


def test_noise_scale_is_the_spread_of_single_gradients_over_their_mean():
    model = digits.network(0, width=4)
    x, y = (tensor[: digits.TRAINING] for tensor in digits.images())
    single = []
    for image, label in zip(x, y, strict=True):
        loss = cross_entropy(model(image[None]), label[None])
        single.append(torch.nn.utils.parameters_to_vector(torch.autograd.grad(loss, model.parameters())))
    single = torch.stack(single).double()
    mean = single.mean(0).square().sum()
    expected = (single.square().sum(1).mean() - mean) / mean
    assert batch_sweep.noise_scale(model) == pytest.approx(float(expected), rel=1e-3)
    [(step, loss, noise)] = batch_sweep.noise_along_training(16, 0.1, at=[0])
    assert step == 0
    assert loss == pytest.approx(math.log(10), abs=0.1)
    assert noise > 0


def test_steps_are_timed_for_each_batch_on_all_ranks():
    timed = launch.run(batch_sweep.step_seconds_on_rank, 2, args=([4, 8], 2))[0]
    assert {batch: len(samples) for batch, samples in timed.items()} == {4: 2, 8: 2}
