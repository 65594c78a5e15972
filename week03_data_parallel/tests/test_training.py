"""Training parts: own data parallelism, compression, batch norm over ranks, optimizers, learning rates."""

import copy
import math

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from effdl import launch
from week03_data_parallel import batch_norm, compression, digits, learning_rate, optimizers
from week03_data_parallel.data_parallel import DataParallel


def double_images():
    """The digits in float64: in float32 rounding may decide the sign of a value before a ReLU that is nearly 0."""
    x, y = digits.images()
    return x.double(), y


def train_on_rank(bucket_bytes, overlap, micro_batches):
    """Weights after three steps with the own DataParallel; rank 1 starts from other weights."""
    x, y = double_images()
    world, rank = dist.get_world_size(), dist.get_rank()
    model = digits.network(seed=rank, width=32).double()
    wrapped = DataParallel(model, bucket_bytes, overlap)
    # Ours, because PyTorch's imports its compiler, which takes each rank seconds.
    optimizer = optimizers.Momentum(model.parameters(), 0.1)
    for step in range(3):
        mine = slice(64 * step + 64 // world * rank, 64 * step + 64 // world * (rank + 1))
        pieces = list(zip(x[mine].chunk(micro_batches), y[mine].chunk(micro_batches), strict=True))
        wrapped.zero_grad()
        with wrapped.no_sync():
            for inputs, labels in pieces[:-1]:
                (cross_entropy(wrapped(inputs), labels) / micro_batches).backward()
        (cross_entropy(wrapped(pieces[-1][0]), pieces[-1][1]) / micro_batches).backward()
        wrapped.finish()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize(
    ("bucket_bytes", "overlap", "micro_batches"), [(2**20, True, 1), (1000, True, 2), (1000, False, 1)]
)
def test_data_parallel_gives_the_weights_of_one_process_on_every_rank(bucket_bytes, overlap, micro_batches):
    x, y = double_images()
    model = digits.network(seed=0, width=32).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for step in range(3):
        optimizer.zero_grad()
        cross_entropy(model(x[64 * step : 64 * step + 64]), y[64 * step : 64 * step + 64]).backward()
        optimizer.step()
    alone = nn.utils.parameters_to_vector(model.parameters()).detach()
    for weights in launch.run(train_on_rank, ranks=2, args=(bucket_bytes, overlap, micro_batches)):
        # Three steps of sums of at most 64 terms of at most 1 round by 3 * 64 * 2**-53 = 2e-14; 50 times that.
        torch.testing.assert_close(weights, alone, atol=1e-12, rtol=0)


def unusual_on_rank():
    torch.manual_seed(dist.get_rank())
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    wrapped = DataParallel(model, bucket_bytes=16)
    model["used"](torch.ones(2, 4)).sum().backward()
    wrapped.finish()
    unused = float(model["unused"].weight.grad.abs().sum())
    model.zero_grad(set_to_none=True)
    with pytest.raises(RuntimeError, match="left its bucket"):
        model["used"](torch.ones(2, 4)).sum().backward()
    return unused, model["used"].weight.tolist()


def test_unused_layers_do_not_hang_and_lost_buckets_are_told():
    first, second = launch.run(unusual_on_rank, ranks=2)
    assert first == second
    assert first[0] == 0


def compressed_on_rank(kinds):
    """By kind: the error of the mean without loss, and of the sum of 40 steps with a constant gradient."""
    errors = {}
    for name, make in kinds.items():
        reduce = make()
        torch.manual_seed(dist.get_rank())
        model = nn.Linear(12, 8)
        wrapped = DataParallel(model, reduce=reduce)
        [bucket] = wrapped.buckets
        gradient = torch.randn(bucket.flat.numel())
        mean = gradient.clone()
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
        total = torch.zeros_like(mean)
        for _ in range(40):
            bucket.flat.copy_(gradient)
            reduce(bucket)
            total += bucket.flat
        errors[name] = float((total / 40 - mean).norm() / mean.norm())
    return errors


def test_what_a_compressor_holds_back_arrives_later():
    kinds = {
        "dense": compression.Dense,
        "top-k": TOP_K,
        "one bit": compression.OneBit,
        "power": POWER,
        "none": NO_FEEDBACK,
    }
    for errors in launch.run(compressed_on_rank, ranks=2, args=(kinds,)):
        assert errors["dense"] < 41 * 2**-24  # each of 40 additions and a division rounds by at most 2**-24
        assert max(errors[name] for name in ("top-k", "one bit", "power")) < 0.2
        assert errors["none"] > 0.5  # without feedback the small elements never arrive


def TOP_K():
    return compression.TopK(0.1)


def POWER():
    return compression.PowerSGD(1)


def NO_FEEDBACK():
    return compression.TopK(0.1, feedback=False)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_packed_bits_come_back(bits):
    packed = compression.pack_bits(torch.tensor(bits))
    assert packed.numel() == math.ceil(len(bits) / 8)
    assert compression.unpack_bits(packed, len(bits)).tolist() == bits


def test_batch_norm_over_ranks_is_that_of_the_joined_batch():
    generator = torch.Generator().manual_seed(0)
    x, cotangent = torch.randn(2, 12, 5, generator=generator)
    parts = launch.run(batch_norm.compare_on_rank, ranks=2, args=(x, cotangent))
    joined = x.clone().requires_grad_()
    y = nn.functional.batch_norm(joined, None, None, training=True)
    (y * cotangent).sum().backward()
    expected = torch.stack([y.detach(), joined.grad])
    found = torch.cat([part["all ranks"] for part in parts], dim=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    alone = torch.cat([part["own batch"] for part in parts], dim=1)
    assert (alone - expected).abs().max() > 0.01


TWINS = [
    ("SGD", lambda p, lr: torch.optim.SGD(p, lr)),
    ("momentum", lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)),
    ("AdaGrad", lambda p, lr: torch.optim.Adagrad(p, lr)),
    ("RMSProp", lambda p, lr: torch.optim.RMSprop(p, lr)),
    ("Adam", lambda p, lr: torch.optim.Adam(p, lr)),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_optimizer_takes_the_steps_of_pytorchs(name, twin):
    # In float64: RMSProp and Adam divide by the size of a gradient, also where that is but rounding.
    ours, theirs = digits.network(width=8).double(), digits.network(width=8).double()
    mine, other = optimizers.ALL[name](ours.parameters(), 0.01), twin(theirs.parameters(), 0.01)
    for (x, y), _ in zip(digits.batches(16, seed=0), range(5), strict=False):
        for model, optimizer in ((ours, mine), (theirs, other)):
            optimizer.zero_grad()
            cross_entropy(model(x.double()), y).backward()
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["LARS", "LAMB"])
def test_a_layers_first_step_is_a_share_of_its_weights_whatever_the_gradients_size(name):
    for scale in (1.0, 1000.0):
        w = nn.Parameter(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)))
        before = w.data.clone()
        w.grad = scale * torch.randn(6, 5, generator=torch.Generator().manual_seed(2))
        optimizers.ALL[name]([w], lr=0.01).step()
        assert float((w.data - before).norm() / before.norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "copies"), [("SGD", 0), ("momentum", 1), ("Adam", 2), ("LARS", 1), ("LAMB", 2)]
)
def test_state_bytes_are_whole_copies_of_the_weights(name, copies):
    model = digits.network(width=8)
    optimizer = optimizers.ALL[name](model.parameters(), 0.01)
    cross_entropy(model(digits.images()[0][:8]), digits.images()[1][:8]).backward()
    optimizer.step()
    assert optimizer.state_bytes() == copies * sum(p.nbytes for p in model.parameters())


def test_local_sgd_with_period_one_is_data_parallel_sgd():
    by_rank = launch.run(digits.train_local_on_rank, ranks=2, args=([1, 10], 20, 16, 0.1))
    assert by_rank[0] == by_rank[1]
    assert [averaged for _, _, averaged in by_rank[0][10]] == [0, 1, 2]
    model = digits.network()
    streams = [digits.batches(16, seed=rank) for rank in range(2)]
    for _ in range(20):
        models = [copy.deepcopy(model) for _ in streams]
        for own, stream in zip(models, streams, strict=True):
            x, y = next(stream)
            optimizer = optimizers.SGD(own.parameters(), 0.1)
            cross_entropy(own(x), y).backward()
            optimizer.step()
        for p, *both in zip(model.parameters(), *(own.parameters() for own in models), strict=True):
            p.data.copy_(sum(q.data for q in both) / 2)
    assert by_rank[0][1][-1][1] == pytest.approx(digits.training_loss(model), abs=1e-4)


def test_learning_rates_start_and_end_where_they_should():
    assert learning_rate.linear_scaling(0.1, 256, 1024) == pytest.approx(0.4)
    assert [learning_rate.warm_up(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert learning_rate.warm_up(0, 0) == 1
    assert [learning_rate.cosine(step, 10) for step in (0, 5, 10, 99)] == pytest.approx([1, 0.5, 0, 0])
    assert learning_rate.step_decay(30, [10, 20]) == pytest.approx(0.01)
