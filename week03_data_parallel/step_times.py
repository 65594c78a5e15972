"""Training steps of several data-parallel wrappers: their weights, their time, their bytes. Runs on ranks."""

import copy
import itertools
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from effdl.stand_ins import OnADevice
from week03_data_parallel import digits, optimizers, wire
from week03_data_parallel.data_parallel import DataParallel, SlowNetwork
from week03_data_parallel.point_to_point import SlowLink
from week03_data_parallel.races import interleaved


def deep_network(layers: int = 12, width: int = 192) -> nn.Sequential:
    """A network with many small parameters: 64 inputs, `layers` hidden layers, 10 classes."""
    torch.manual_seed(0)
    sizes = [64] + [width] * layers
    linear = [nn.Linear(a, b) for a, b in itertools.pairwise([*sizes, 10])]
    for layer in linear:  # PyTorch's default is too small for so many layers: hardly a gradient would arrive
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    return nn.Sequential(*(part for layer in linear for part in (layer, nn.ReLU())))[:-1]


def average_each(model: nn.Module) -> None:
    """The first idea: after backward, one all-reduce for each parameter."""
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()


def average_flat(model: nn.Module) -> None:
    """The second idea: copy all gradients into one tensor, one all-reduce, copy them back."""
    gradients = [parameter.grad for parameter in model.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def forward_backward(model: nn.Module, part: slice) -> None:
    """Gradients of the mean loss of some digits."""
    x, y = digits.images()
    cross_entropy(model(x[part]), y[part]).backward()


def my_part(batch: int, step: int) -> slice:
    """This rank's share of batch number `step` of the whole group."""
    share = batch // dist.get_world_size()
    start = step * batch + dist.get_rank() * share
    return slice(start, start + share)


def wrappers(
    make: Callable[[], nn.Module],
) -> dict[str, tuple[nn.Module, Callable[[], None], Callable[[], None]]]:
    """By name: the module, what clears its gradients, and what must happen after backward."""
    each, flat = make(), make()
    own, theirs = DataParallel(make()), DistributedDataParallel(make(), bucket_cap_mb=1)
    return {
        "one all-reduce each": (each, each.zero_grad, lambda: average_each(each)),
        "one flat all-reduce": (flat, flat.zero_grad, lambda: average_flat(flat)),
        "DataParallel (ours)": (own, own.zero_grad, own.finish),
        "DistributedDataParallel": (theirs, lambda: theirs.zero_grad(set_to_none=False), lambda: None),
    }


def weights_on_rank(batch: int, steps: int, lr: float) -> dict[str, torch.Tensor]:
    """The weights after `steps` steps of SGD with momentum, by wrapper, as one vector each."""
    found = {}
    for name, (module, clear, finish) in wrappers(digits.network).items():
        optimizer = optimizers.Momentum(module.parameters(), lr)
        for step in range(steps):
            clear()
            forward_backward(module, my_part(batch, step))
            finish()
            optimizer.step()
        found[name] = nn.utils.parameters_to_vector(module.parameters()).detach()
    return found


def weights_of_one_process(batch: int, steps: int, lr: float) -> torch.Tensor:
    """The same on one process with the whole batch."""
    model = digits.network()
    optimizer = optimizers.Momentum(model.parameters(), lr)
    for step in range(steps):
        model.zero_grad()
        forward_backward(model, slice(step * batch, (step + 1) * batch))
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def compare_on_rank(batch: int, steps: int, lr: float, rounds: int) -> tuple[dict, dict[str, list[float]]]:
    """Both comparisons of the wrappers: `weights_on_rank`, and seconds from a cleared gradient to an averaged one.

    The times are those of a deep network, in interleaved rounds.
    """
    weights = weights_on_rank(batch, steps, lr)
    ways = wrappers(deep_network)
    return weights, interleaved({name: _step(way, batch) for name, way in ways.items()}, rounds, warmup=2)


def _step(way: tuple[nn.Module, Callable[[], None], Callable[[], None]], batch: int) -> Callable[[], None]:
    module, clear, finish = way

    def step():
        clear()
        forward_backward(module, my_part(batch, 0))
        finish()

    return step


def overlap_on_rank(layers: int, link: tuple[float, float], rounds: int) -> dict[str, list[float]]:
    """Seconds of a step on a device and a network of their own, with a bucket for each layer.

    A layer takes 10 ms forward and 20 ms backward.
    `link` is (alpha, beta) of a network whose `beta` is in seconds for the bytes of one layer.
    """
    model = nn.Sequential(*(OnADevice(nn.Linear(128, 128), 0.01) for _ in range(layers)))
    nbytes = sum(p.nbytes for p in model[0].parameters())
    network, x, steps = SlowNetwork(SlowLink(link[0], link[1] / nbytes)), torch.ones(4, 128), {}
    for name, overlap in (("sent at the end", False), ("sent when full", True)):
        wrapped = DataParallel(copy.deepcopy(model), nbytes, overlap, start=network.start)

        def step(wrapped=wrapped):
            wrapped.zero_grad()
            wrapped(x).sum().backward()
            wrapped.finish()

        steps[name] = step
    return interleaved(steps, rounds, warmup=2)


def bytes_on_rank(micro_batches: int) -> dict[str, int]:
    """Bytes that this rank sends for one step of several micro-batches, with and without `no_sync`."""
    found = {}
    for name in ("a sum for each", "no_sync"):
        wrapped = DataParallel(deep_network())
        # The first step opens connections.
        for _ in range(2):
            wrapped.zero_grad()
            dist.barrier()
            before = wire.socket_bytes()
            for k in range(micro_batches):
                if name == "no_sync" and k < micro_batches - 1:
                    with wrapped.no_sync():
                        forward_backward(wrapped, my_part(64, k))
                else:
                    forward_backward(wrapped, my_part(64, k))
                    wrapped.finish()
            dist.barrier()  # what a send left in the kernel's buffer is not counted yet
            found[name] = wire.socket_bytes() - before
    return found


def spread_on_rank(same_start: bool, steps: int) -> float:
    """How far the ranks' weights are apart after training with averaged gradients; starts are made different.

    `same_start` sends rank 0's weights to all before.
    """
    model = deep_network()
    torch.manual_seed(dist.get_rank())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
            if same_start:
                dist.broadcast(parameter, src=0)
    optimizer = optimizers.SGD(model.parameters(), 0.05)
    for step in range(steps):
        model.zero_grad()
        forward_backward(model, my_part(64, step))
        average_flat(model)
        optimizer.step()
    low = nn.utils.parameters_to_vector(model.parameters()).detach()
    high = low.clone()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    return float((high - low).max())
