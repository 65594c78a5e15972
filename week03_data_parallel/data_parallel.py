"""A small DistributedDataParallel: buckets, hooks, overlap, `no_sync`, and a place for compression."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from effdl.stand_ins import Late
from week03_data_parallel.point_to_point import SlowLink


class Bucket:
    """Parameters whose gradients travel together. Each `grad` is a view into the bucket's flat tensor."""

    def __init__(self, parameters: list[nn.Parameter]):
        self.parameters = parameters
        self.flat: torch.Tensor = torch.zeros(sum(p.numel() for p in parameters), dtype=parameters[0].dtype)
        self.waiting = len(parameters)
        self.work: dist.Work | None = None
        self.attach()

    def attach(self) -> None:
        """Let the gradients live in the flat tensor, so that nothing needs to be copied before it is sent."""
        pieces = self.flat.split([p.numel() for p in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)


def _start_all_reduce(tensor: torch.Tensor) -> dist.Work:
    return dist.all_reduce(tensor, async_op=True)


class DataParallel(nn.Module):
    """Wraps a module: after `backward()` and `finish()` every gradient is the mean over all ranks.

    Parameters and buffers are those of rank 0 from the start. Buckets of at most `bucket_bytes` are filled from the
    last parameter to the first, the order in which gradients appear. A full bucket leaves at once, while backward
    goes on; `overlap=False` keeps them until `finish()`. `reduce(bucket)` replaces the all-reduce, for example to
    compress; it must leave the mean in `bucket.flat`. `start(flat)` starts a sum in place of the
    asynchronous all-reduce, and returns what can be waited for. Use `zero_grad()` of this class, not `set_to_none`.

    Li et al., PyTorch Distributed: experiences on accelerating data parallel training, VLDB 2020.
    """

    def __init__(
        self,
        module: nn.Module,
        bucket_bytes: int = 2**20,
        overlap: bool = True,
        reduce: Callable[[Bucket], None] | None = None,
        start: Callable[[torch.Tensor], dist.Work | Late] = _start_all_reduce,
    ):
        super().__init__()
        self.module, self.overlap, self.reduce, self.start = module, overlap, reduce, start
        self.syncing = True
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), src=0)
        self.buckets = [Bucket(group) for group in _grouped(module, bucket_bytes)]
        self._next = 0
        for bucket in self.buckets:
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(lambda p, bucket=bucket: self._ready(bucket, p))

    def forward(self, *inputs, **kwargs):
        """What the module returns."""
        return self.module(*inputs, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Inside, gradients only add up on this rank: for all micro-batches but the last."""
        self.syncing = False
        try:
            yield
        finally:
            self.syncing = True

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Clear the gradients and keep the memory they live in."""
        for bucket in self.buckets:
            bucket.flat.zero_()

    def finish(self) -> None:
        """Wait for what is on its way and turn sums into means. Call it between `backward()` and `step()`."""
        self._launch(everything=True)
        for bucket in self.buckets:
            if bucket.work is not None:
                bucket.work.wait()
                bucket.flat /= dist.get_world_size()
            bucket.work, bucket.waiting = None, len(bucket.parameters)
        self._next = 0

    def _ready(self, bucket: Bucket, parameter: nn.Parameter) -> None:
        """One gradient of the bucket is there."""
        if parameter.grad.untyped_storage().data_ptr() != bucket.flat.untyped_storage().data_ptr():
            raise RuntimeError(
                "a gradient left its bucket: call zero_grad() of DataParallel, not of the optimizer"
            )
        if self.syncing:
            bucket.waiting -= 1
            if self.overlap and self.reduce is None:
                self._launch()

    def _launch(self, everything: bool = False) -> None:
        """Send full buckets, in order: all ranks must send the same bucket at the same time.

        With `everything` also those in which a gradient is missing, because a layer was not used.
        """
        while self._next < len(self.buckets) and (everything or self.buckets[self._next].waiting <= 0):
            bucket = self.buckets[self._next]
            if self.reduce is not None:
                self.reduce(bucket)
            else:
                bucket.work = self.start(bucket.flat)
            self._next += 1


class SlowNetwork:
    """Asynchronous all-reduces over a slow link, one after another: a stand-in for a network.

    A sum of m bytes is finished no earlier than `alpha` + `beta` m seconds after the link was free for it. Nobody
    computes meanwhile on its behalf, as with a network card.
    """

    def __init__(self, link: SlowLink):
        self.link, self.free = link, 0.0

    def start(self, tensor: torch.Tensor) -> Late:
        """Begin to sum `tensor` over the ranks."""
        self.free = max(self.free, time.perf_counter()) + self.link.seconds(1, tensor.nbytes)
        return Late(dist.all_reduce(tensor, async_op=True), self.free)


def _grouped(module: nn.Module, bucket_bytes: int) -> list[list[nn.Parameter]]:
    groups: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed([p for p in module.parameters() if p.requires_grad]):
        nbytes = parameter.numel() * parameter.element_size()
        if nbytes > room:
            groups.append([])
            room = bucket_bytes
        groups[-1].append(parameter)
        room -= nbytes
    return groups
