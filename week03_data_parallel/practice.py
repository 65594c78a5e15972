"""What a reader writes on a page, run on real ranks: how a function gets there, and what each check does with it.

A rank is another process and cannot import a notebook. So a function travels as its code, together with the modules
and the plain values that the code names.
"""

import builtins
import copy
import importlib
import marshal
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data.distributed import DistributedSampler

from effdl import launch
from effdl.device import device
from effdl.stand_ins import OnADevice
from week03_data_parallel import digits, optimizers, point_to_point, schedules, step_times, wire
from week03_data_parallel.batch_norm import normalise_over_ranks
from week03_data_parallel.data_parallel import Bucket, SlowNetwork
from week03_data_parallel.point_to_point import SlowLink


class Written:
    """A function of a notebook in a form that other processes can be sent; call it like the function.

    Raises TypeError for a function that uses variables of a function around it.
    """

    def __init__(self, function: Callable):
        if function.__closure__:
            raise TypeError(f"{function.__name__} uses variables of another function: pass them as arguments")
        self.name, self.defaults = function.__name__, function.__defaults__
        self.code = marshal.dumps(function.__code__)
        self.modules: dict[str, str] = {}
        self.values: dict[str, object] = {}
        for name in sorted(set(_names(function.__code__)) & set(function.__globals__) - {self.name}):
            value = function.__globals__[name]
            if isinstance(value, types.ModuleType):
                self.modules[name] = value.__name__
            elif (
                isinstance(value, types.FunctionType) and value.__globals__ is function.__globals__
            ):  # of the same page
                self.values[name] = Written(value)
            else:
                self.values[name] = value

    def __call__(self, *args, **kwargs):
        names = {name: importlib.import_module(module) for name, module in self.modules.items()}
        names["__builtins__"] = builtins
        function = types.FunctionType(
            marshal.loads(self.code), {**names, **self.values}, self.name, self.defaults
        )
        function.__globals__[self.name] = function
        return function(*args, **kwargs)


def _names(code: types.CodeType) -> Iterator[str]:
    """Global names of a function and of the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def run(written: Callable, on_rank: Callable, ranks: int, *args, deadline: float = 30) -> list:
    """What `on_rank(written, *args)` returns on each of `ranks` processes.

    Raises NotImplementedError for a function that is not written yet, RuntimeError for one that fails or waits for
    ever on a rank, with the first line of what the launcher says.
    """
    if written.__code__.co_names == ("NotImplementedError",):
        raise NotImplementedError
    try:
        return launch.run(on_rank, ranks, args=(Written(written), *args), deadline=deadline)
    except launch.LaunchError as error:
        raise RuntimeError(str(error).splitlines()[0]) from None


def executed(schedule: schedules.Schedule) -> list[float]:
    """What the ranks hold after a schedule has run on as many processes; rank r starts with 2 to the power of r."""
    return launch.run(_execute_on_rank, schedule.ranks, args=(schedule,), deadline=30)


def _execute_on_rank(schedule: schedules.Schedule) -> float:
    tensor = torch.full((1000,), 2.0 ** dist.get_rank())
    point_to_point.execute(schedule, tensor)
    return float(tensor.mean())


def ring_on_rank(ring_step: Callable, length: int) -> tuple[bool, float]:
    """Whether the steps of a ring made the sum, and what this rank sent, in tensors, by its sockets."""
    world, rank = dist.get_world_size(), dist.get_rank()
    whole = torch.arange(length, dtype=torch.float32) % 7
    tensor = whole * (rank + 1)
    chunks = tensor.tensor_split(world)
    dist.barrier()
    before = wire.socket_bytes()
    for step in range(2 * (world - 1)):
        ring_step(chunks, (rank - step) % world, (rank - step - 1) % world, step < world - 1)
    dist.barrier()  # what a send left in the kernel's buffer is not counted yet
    sent = wire.socket_bytes() - before
    return torch.equal(tensor, whole * (world * (world + 1) / 2)), round(sent / tensor.nbytes, 2)


@contextmanager
def _counted(name: str) -> Iterator[mock.Mock]:
    """Inside, calls of a collective of `torch.distributed` are counted, and made."""
    with mock.patch.object(dist, name, side_effect=getattr(dist, name)) as counter:
        yield counter


def average_on_rank(average: Callable) -> tuple[bool, int]:
    """Whether all gradients of a deep network became their means, and how many all-reduces that took."""
    model = step_times.deep_network()
    step_times.forward_backward(model, step_times.my_part(64, 0))
    wanted = copy.deepcopy(model)
    for mine, same in zip(wanted.parameters(), model.parameters(), strict=True):
        mine.grad = same.grad.clone()
    step_times.average_each(wanted)
    with _counted("all_reduce") as counter:
        average(list(model.parameters()))
    return _same_gradients(model, wanted), counter.call_count


def _same_gradients(model: nn.Module, other: nn.Module) -> bool:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(p.grad, q.grad, atol=1e-6) for p, q in pairs)


def overlap_on_rank(overlap: Callable, layers: int, unused: int | None) -> tuple[bool, list[int]]:
    """Whether buckets that leave by hooks hold the means, and how many left while backward still went on, by step.

    Three steps of `layers` layers, a bucket each, on a device and a network of their own. With `unused` one layer
    takes no part, on rank 1 only.
    """
    torch.manual_seed(0)
    parts = [OnADevice(nn.Linear(64, 64), 0.001) for _ in range(layers)]
    model, plain = nn.Sequential(*parts), nn.Sequential(*(copy.deepcopy(part.part) for part in parts))
    buckets = [Bucket(list(part.parameters())) for part in reversed(parts)]
    network, here, early = SlowNetwork(SlowLink(0.001, 1e-9)), [0], []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: here.__setitem__(0, here[0] + 1))
    skipped = unused if dist.get_rank() == 1 else None
    expected = 2 * (layers - (skipped is not None))

    def start(flat):
        early[-1] += here[0] < expected
        return network.start(flat)

    finish, right = overlap(buckets, start), True
    for step in range(3):
        early.append(0)
        here[0] = 0
        x = torch.full((4, 64), 1.0 + step + dist.get_rank())
        for net in (model, plain):
            for p in net.parameters():
                p.grad.zero_() if p.grad is not None else setattr(p, "grad", torch.zeros_like(p))
            y = x
            for number, part in enumerate(net):
                y = y if number == skipped else part(y)
            y.square().mean().backward()
        finish()
        step_times.average_each(plain)
        right = right and _same_gradients(model, plain)
    return right, early


def compress_on_rank(send_top: Callable, share: float) -> tuple[bool, bool, bool]:
    """Whether the mean arrives in time, ranks agree to the bit, and the sockets saw at most a twentieth of dense.

    The same gradient for 300 steps, a hundredth of it in each: what a step keeps back must come later.
    """
    torch.manual_seed(dist.get_rank())
    gradient = torch.randn(20_000)
    mean = gradient.clone()
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    left, total, steps = torch.zeros_like(gradient), torch.zeros_like(gradient), 300
    before = wire.socket_bytes()
    for _ in range(steps):
        flat = gradient.clone()
        send_top(flat, left, share)
        total += flat
    dist.barrier()
    sent = (wire.socket_bytes() - before) / (steps * gradient.nbytes)
    error = float((total / steps - mean).norm() / mean.norm())
    first = total.clone()
    dist.broadcast(first, src=0)
    return error < 0.3, torch.equal(first, total), sent < 0.05


def statistics_on_rank(average_statistics: Callable) -> tuple[bool, bool]:
    """Whether running mean and variance became those of the samples of all ranks, each with a shift of its own."""
    world, rank = dist.get_world_size(), dist.get_rank()
    generator = torch.Generator().manual_seed(0)
    joined = torch.randn(world, 4096, 3, generator=generator) * torch.tensor([1.0, 2.0, 3.0])
    joined += 2.0 * torch.arange(world)[:, None, None]
    # Momentum 1: the running statistics are those of the last batch.
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=1.0), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model(joined[rank])
    average_statistics(model)
    flat, norm = joined.flatten(0, 1), model[0]
    return (
        bool(torch.allclose(norm.running_mean, flat.mean(0), atol=1e-3)),
        bool(torch.allclose(norm.running_var, flat.var(0), rtol=1e-2)),
    )


def accumulate_on_rank(accumulate: Callable, micro_batches: int) -> tuple[bool, float]:
    """Whether the gradient is that of the whole batch, and the bytes sent over those of one batch in one piece."""
    x, y = (tensor[step_times.my_part(128, 0)] for tensor in digits.images())
    models = [DistributedDataParallel(step_times.deep_network()) for _ in range(2)]
    sent = []
    for number, model in enumerate(models):
        parts = list(zip(x.chunk(micro_batches), y.chunk(micro_batches), strict=True)) if number else [(x, y)]

        def loss(part, model=model):
            return cross_entropy(model(part[0]), part[1])

        for _ in range(2):  # after the first step PyTorch orders its buckets anew
            model.zero_grad()
            dist.barrier()
            before = wire.socket_bytes()
            accumulate(model, loss, parts) if number else loss(parts[0]).backward()
            dist.barrier()
            sent.append(wire.socket_bytes() - before)
    return _same_gradients(*models), round(sent[3] / sent[1], 1)


def deal_on_rank(deal: Callable, total: int) -> list[int]:
    """The samples that a rank deals to itself."""
    return list(deal(total))


def local_on_rank(local: Callable, period: int, steps: int) -> tuple[int, bool]:
    """All-reduces in some steps of local SGD; whether it began with rank 0's weights, averaged them, and only then.

    The ranks' own first weights differ.
    """
    model = digits.network(seed=dist.get_rank(), width=16)
    optimizer = optimizers.SGD(model.parameters(), 0.1)

    def weights() -> torch.Tensor:
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    wanted = weights()
    dist.broadcast(wanted, src=0)
    with _counted("all_reduce") as counter:
        after_step = local(model, period)
        right = torch.equal(weights(), wanted)
        own = digits.batches(16, seed=dist.get_rank())
        for step, (x, y) in zip(range(1, steps + 1), own, strict=False):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            by_rank = [torch.empty_like(wanted) for _ in range(dist.get_world_size())]
            dist.all_gather(by_rank, weights())  # not by the collective that is counted
            due = step % period == 0
            wanted = torch.stack(by_rank).mean(0) if due else weights()
            after_step()
            right = right and torch.allclose(weights(), wanted, atol=1e-6)
        return counter.call_count, right


def gossip_on_rank(gossip_step: Callable, steps: int) -> float:
    """What a rank holds after some steps of gossip that began with its rank."""
    value = torch.full((1000,), float(dist.get_rank()))
    for step in range(steps):
        gossip_step(value, step)
    return float(value.mean())


def library_ring_step(chunks, leaving: int, arriving: int, add: bool) -> None:
    """A step of a ring with PyTorch's batch of point-to-point messages, which NCCL needs for exchanges."""
    rank, world = dist.get_rank(), dist.get_world_size()
    landing = torch.empty_like(chunks[arriving])
    messages = [
        dist.P2POp(dist.isend, chunks[leaving], (rank + 1) % world),
        dist.P2POp(dist.irecv, landing, (rank - 1) % world),
    ]
    for work in dist.batch_isend_irecv(messages):
        work.wait()
    chunks[arriving].add_(landing) if add else chunks[arriving].copy_(landing)


def library_local(model: nn.Module, period: int) -> Callable[[], None]:
    """Local SGD by PyTorch: what to call after each step."""
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager

    for parameter in model.parameters():  # the averager takes the same first weights for granted
        dist.broadcast(parameter.detach(), src=0)
    averager = PeriodicModelAverager(period=period, warmup_steps=period - 1)
    return lambda: averager.average_parameters(model.parameters())


def library_deal(total: int) -> list[int]:
    """The samples of this rank by PyTorch's sampler."""
    return list(DistributedSampler(range(total), shuffle=False))


def statistics_of_ddp_on_rank() -> tuple[float, float]:
    """(running mean that this rank would save, mean over all ranks' samples) after two steps of a model under DDP.

    Rank r's samples have the mean 2 r.
    """
    model = DistributedDataParallel(nn.Sequential(nn.BatchNorm1d(1, momentum=1.0), nn.Linear(1, 1)))
    x = torch.randn(4096, 1, generator=torch.Generator().manual_seed(dist.get_rank())) + 2.0 * dist.get_rank()
    for _ in range(2):
        model(x).sum().backward()
    joined = x.mean()
    dist.all_reduce(joined)
    return float(model.module[0].running_mean), float(joined / dist.get_world_size())


def library_sync_on_rank() -> str:
    """PyTorch's SyncBatchNorm in training on a rank: how far from ours, or why it refuses."""
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, affine=False))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).to(device())
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(dist.get_rank())).to(device())
    try:
        ours = normalise_over_ranks(model[0](x))
        return f"differs from ours by {float((model(x) - ours).abs().max()):.1g}"
    except ValueError as refusal:
        return str(refusal)
