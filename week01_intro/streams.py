"""Two streams that share a tensor: a race that can be seen, and a pipeline to be put right as an exercise."""

import time
from collections.abc import Callable

import torch

from effdl.device import device as place
from effdl.device import scale
from week01_intro.async_device import AsyncDevice

PARTS = 16
BUSY = scale(cpu=384, gpu=4096)
"""Side of the square matrices whose product keeps a stream busy for about 2 ms."""


def fill_in_parts(target: torch.Tensor, busy: torch.Tensor) -> None:
    """target becomes 1 everywhere, one of PARTS parts after another, with a matrix product before each."""
    for part in target.chunk(PARTS):
        torch.mm(busy, busy)
        part.fill_(1)


def add_up(source: torch.Tensor, total: torch.Tensor) -> None:
    """total = sum of source"""
    torch.sum(source, dim=0, out=total)


def share_read(device: AsyncDevice, delay: float, wait: bool) -> float:
    """Fill a tensor on one stream and sum it on another, launched ``delay`` seconds later.

    Returns the share of the tensor that the sum found filled. With ``wait`` the second stream waits for an
    event of the first, as it should.
    """
    producer, consumer = device.stream(), device.stream()
    target, total = torch.zeros(PARTS * 4096, device=place()), torch.zeros((), device=place())
    busy = torch.randn(BUSY, BUSY, device=place())
    device.synchronize()
    producer.launch(fill_in_parts, target, busy)
    time.sleep(delay)
    if wait:
        consumer.wait(producer.record())
    consumer.launch(add_up, target, total)
    device.synchronize()
    producer.close()
    consumer.close()
    return total.item() / target.numel()


def slow_copy(target: torch.Tensor, source: torch.Tensor, busy: torch.Tensor) -> None:
    """Copy source to target in two halves, with a matrix product before each: a slow bus."""
    for to, part in zip(target.chunk(2), source.chunk(2), strict=True):
        torch.mm(busy, busy)
        to.copy_(part)


def slow_sum(source: torch.Tensor, total: torch.Tensor, busy: torch.Tensor) -> None:
    """total = sum of source, after a matrix product: a model at work."""
    torch.mm(busy, busy)
    torch.sum(source, dim=0, out=total)


Pipeline = Callable[[AsyncDevice, Callable, Callable, int], None]


def run_pipeline(pipeline: Pipeline, batches: int) -> list[float]:
    """Run an exercise's ``pipeline(device, load, compute, batches)``; the mean that it found in each batch.

    ``load(i)`` copies batch i, whose entries are all i + 1, into the one staging buffer; ``compute(i)`` takes
    the mean of what is in the buffer. The pipeline launches both for every i, on streams of the device.
    """
    device = AsyncDevice()
    data = [torch.full((4096,), i + 1.0, device=place()) for i in range(batches)]
    staging, totals = torch.zeros(4096, device=place()), torch.zeros(batches, device=place())
    matrices = [torch.randn(BUSY, BUSY, device=place()) for _ in range(2)]
    device.synchronize()
    pipeline(
        device,
        lambda i: slow_copy(staging, data[i], matrices[0]),
        lambda i: slow_sum(staging, totals[i], matrices[1]),
        batches,
    )
    device.synchronize()
    device.close()
    return (totals / 4096).tolist()


PIPELINE_SPECIFICATION = [((batches,), [i + 1.0 for i in range(batches)]) for batches in (1, 3, 6)]
"""Cases for effdl.notebook.check_exercise: (number of batches), the means that the batches have."""
