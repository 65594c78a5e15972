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


def normalised_on_rank(joined, cotangent):
    """Output and input gradient of this rank's part of a batch, normalised over all ranks and on its own."""
    world, rank = dist.get_world_size(), dist.get_rank()
    result = {}
    ways = {
        "all ranks": batch_norm.normalise_over_ranks,
        "own batch": lambda x: (x - x.mean(0)) / x.std(0, correction=0),
    }
    for name, normalise in ways.items():
        x = joined.tensor_split(world)[rank].clone().requires_grad_()
        y = normalise(x)
        (y * cotangent.tensor_split(world)[rank]).sum().backward()
        result[name] = torch.stack([y.detach(), x.grad])
    return result


def test_batch_norm_over_ranks_is_that_of_the_joined_batch():
    generator = torch.Generator().manual_seed(0)
    x, cotangent = torch.randn(2, 12, 5, generator=generator)
    parts = launch.run(normalised_on_rank, ranks=2, args=(x, cotangent))
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
    ("AdaDelta", lambda p, lr: torch.optim.Adadelta(p, lr)),
    ("Adam", lambda p, lr: torch.optim.Adam(p, lr)),
    ("AdamW", lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.1)),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_optimizer_takes_the_steps_of_pytorchs(name, twin):
    # In float64: RMSProp and Adam divide by the size of a gradient, also where that is but rounding.
    ours, theirs = digits.network(width=8).double(), digits.network(width=8).double()
    decay = {"weight_decay": 0.1} if name == "AdamW" else {}
    mine, other = optimizers.ALL[name](ours.parameters(), 0.01, **decay), twin(theirs.parameters(), 0.01)
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
    ("name", "copies"), [("SGD", 0), ("momentum", 1), ("AdaDelta", 2), ("Adam", 2), ("LARS", 1), ("LAMB", 2)]
)
def test_state_bytes_are_whole_copies_of_the_weights(name, copies):
    model = digits.network(width=8)
    optimizer = optimizers.ALL[name](model.parameters(), 0.01)
    cross_entropy(model(digits.images()[0][:8]), digits.images()[1][:8]).backward()
    optimizer.step()
    assert optimizer.state_bytes() == copies * sum(p.nbytes for p in model.parameters())
    assert digits.state_copies(name) == pytest.approx(copies, rel=1e-3)


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
    stable = [
        learning_rate.warm_up_stable_decay(step, 10, warm=2, share=0.4) for step in (0, 1, 5, 6, 8, 10, 99)
    ]
    assert stable == pytest.approx([0.5, 1, 1, 1, 0.5, 0, 0])
    assert [learning_rate.warm_up(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert learning_rate.warm_up(0, 0) == 1
    assert [learning_rate.cosine(step, 10) for step in (0, 5, 10, 99)] == pytest.approx([1, 0.5, 0, 0])
    assert learning_rate.step_decay(30, [10, 20]) == pytest.approx(0.01)


def test_the_mean_of_unequal_parts_means_is_not_the_mean_of_all():
    x, y = double_images()
    model = digits.network(width=8).double()

    def gradient(part):
        loss = cross_entropy(model(x[part]), y[part])
        return nn.utils.parameters_to_vector(torch.autograd.grad(loss, model.parameters()))

    whole = gradient(slice(0, 64))
    equal = (gradient(slice(0, 32)) + gradient(slice(32, 64))) / 2
    unequal = (gradient(slice(0, 8)) + gradient(slice(8, 64))) / 2
    torch.testing.assert_close(equal, whole, atol=1e-12, rtol=0)
    assert (unequal - whole).abs().max() > 1e-4


def own_momentum_on_rank():
    """By step: what one step of momentum top-k averaged, for a gradient of ones at one place."""
    reduce = compression.MomentumTopK(0.5, decay=0.5)
    wrapped = DataParallel(nn.Linear(2, 1, bias=False), reduce=reduce)
    [bucket] = wrapped.buckets
    seen = []
    for gradient in ([3.0, 1.0], [3.0, 1.0], [0.0, 0.0]):
        bucket.flat.copy_(torch.tensor(gradient))
        reduce(bucket)
        seen.append(bucket.flat.tolist())
    return seen


def test_momentum_top_k_sends_velocities_and_clears_what_it_sent():
    # The second element waits: it owes 1, then 1 + 1.5 = 2.5, then 2.5 + 0.75 with the velocity 0.75.
    expected = [[3.0, 0.0], [3.0, 0.0], [0.0, 3.25]]
    assert launch.run(own_momentum_on_rank, 2) == [expected] * 2


def test_a_rank_with_digits_of_its_own_sees_no_others():
    for part, own in ((0, range(5)), (1, range(5, 10))):
        _, labels = next(digits.batches(64, part, parts=2))
        assert set(labels.tolist()) <= set(own)


def bytes_on_rank():
    curves = digits.train_compressed_on_rank(["dense", "top-k 1 %"], 10, 8, 0.05)
    seconds, sent = digits.average_times_on_rank(["dense", "top-k 1 %"], 2**14, 2)
    return (
        [curve[-1][0] for curve in curves.values()],
        list(sent.values()),
        [len(s) for s in seconds.values()],
    )


def test_bytes_of_compressed_training_are_those_of_the_sockets():
    try:
        (dense, top), (one_dense, one_top), rounds = launch.run(bytes_on_rank, 2)[0]
    except launch.LaunchError as error:
        if "sockets do not count" in str(error):
            pytest.skip("this kernel's sockets do not count their bytes")
        raise
    weights = sum(p.nbytes for p in digits.network().parameters())
    assert dense == pytest.approx(10 * weights, rel=0.05)
    assert 0.015 < top / dense < 0.04
    assert one_top < 0.05 * one_dense
    assert rounds == [2, 2]


def test_normalising_over_ranks_trains_on_every_rank_alike():
    by_rank = launch.run(batch_norm.train_on_rank, 2, args=([4], 3, 0.05, [0]))
    assert by_rank[0] == by_rank[1]
    assert by_rank[0][4]["all ranks"] != by_rank[0][4]["own batch"]


def test_a_tuned_optimizer_has_a_rate_of_the_sweep_and_a_loss_for_each_seed():
    found = digits.tuned("Adam", batch=256, steps=6, seeds=2)
    assert found.inside == (found.rate in digits.RATES["Adam"][1:-1])
    assert found.rate in digits.RATES["Adam"]
    assert len(found.losses) == 2
    assert found.curve[-1] == (6, found.losses[0])
    assert len(digits.final_losses(0.1, lambda step: 1.0, 64, 2, seeds=2)) == 2
