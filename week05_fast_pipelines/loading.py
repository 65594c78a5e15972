"""What a DataLoader's throughput is made of: workers, the consumer, what waits between them, each sample's cost.

The datasets stand in a module because worker processes must find them there. A worker is a fork of the process that
starts it, where the system allows that.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from effdl import bench, launch
from effdl.bench import Comparison
from week05_fast_pipelines.decoding import stop

CONTEXT = "fork"
"""How workers start. Since Python 3.14 the default on Linux is "forkserver", and a worker gets a pickled dataset."""


def simulate(
    service: Sequence[float], workers: int, prefetch: int, consume: float, in_order: bool = True
) -> float:
    """Seconds from one batch to the next at the consumer, from the first to the last, by a queueing model.

    A loader asks for `workers * prefetch` batches at once, and for one more whenever it hands one out. In order,
    batch k is made by worker k mod `workers` and handed out after batch k - 1. Otherwise a batch goes to the worker
    that has the fewest before it, and is handed out when it is ready. Batch k takes a worker service[k] seconds, and
    the consumer `consume`. Cores and messages are not in the model. Raises ValueError for fewer than two batches.
    """
    if len(service) < 2:
        raise ValueError("a time from batch to batch needs two batches")
    free, before = [0.0] * workers, [0] * workers  # when each worker is done, and what it has yet to hand out
    ready: dict[int, tuple[float, int]] = {}  # batches asked for: when they are there, and whose they are
    asked, now, handed_out = 0, 0.0, []
    while len(handed_out) < len(service):
        while asked < len(service) and len(ready) < workers * prefetch:
            worker = asked % workers if in_order else before.index(min(before))
            free[worker] = max(free[worker], now) + service[asked]
            ready[asked], asked = (free[worker], worker), asked + 1
            before[worker] += 1
        batch = min(ready, key=None if in_order else ready.__getitem__)
        when, worker = ready.pop(batch)
        before[worker] -= 1
        now = max(now + consume, when) if handed_out else when
        handed_out.append(now)
    return (handed_out[-1] - handed_out[0]) / (len(service) - 1)


class Waits(Dataset):
    """Batches that only take time, as from a distant store: batch k sleeps service[k], returns k and how long."""

    def __init__(self, service: Sequence[float]):
        self.service = service

    def __len__(self) -> int:
        return len(self.service)

    def __getitem__(self, index: int) -> tuple[int, float]:
        start = time.perf_counter()
        time.sleep(self.service[index])
        return index, time.perf_counter() - start


@dataclass(frozen=True)
class Flow:
    """What a consumer saw of a loader."""

    period: float
    """Seconds from one batch to the next, from the second on."""
    service: list[float]
    """Seconds that a worker needed for each batch, in the order of the batches."""
    consume: float
    """Seconds that the consumer needed for a batch."""


def flow(
    service: Sequence[float], workers: int, prefetch: int, consume: float, in_order: bool = True
) -> Flow:
    """Run a real DataLoader over batches that take time, with a consumer that takes time."""
    with warnings.catch_warnings():
        # More workers than cores is what PyTorch warns of. These sleep, and need no core.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            Waits(service),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=prefetch,
            in_order=in_order,
            multiprocessing_context=CONTEXT,
        )
        batches = iter(loader)
    arrived, made, used = [], dict(enumerate(service)), []
    for index, seconds in batches:
        arrived.append(time.perf_counter())
        made[index] = seconds
        time.sleep(consume)
        used.append(time.perf_counter() - arrived[-1])
    period = (arrived[-1] - arrived[0]) / (len(arrived) - 1)
    return Flow(period, list(made.values()), float(np.mean(used)))


@dataclass(frozen=True)
class Case:
    """A loader of a sweep: what `flow` and `simulate` take."""

    service: Sequence[float]
    workers: int
    prefetch: int
    consume: float
    in_order: bool = True

    def both(self) -> tuple[float, float]:
        """Seconds from batch to batch, measured, and by the model for the measured times of service and consumer."""
        seen = flow(self.service, self.workers, self.prefetch, self.consume, self.in_order)
        model = simulate(seen.service, self.workers, self.prefetch, seen.consume, self.in_order)
        return seen.period, model


def stragglers(batches: int, usual: float, every: int, times: float) -> list[float]:
    """Service times of which each `every`-th is `times` as long as the others."""
    return [usual * (times if index % every == every // 2 else 1) for index in range(batches)]


class Images(Dataset):
    """Small images in one array (n, side, side, 3) uint8; a sample is (3, side, side) float32, scaled and centred."""

    def __init__(self, count: int, side: int):
        generator = np.random.default_rng(0)
        self.images = generator.integers(0, 256, (count, side, side, 3), np.uint8)
        self.labels = generator.integers(0, 10, count)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = torch.from_numpy(self.images[index]).permute(2, 0, 1)
        return pixels.float().div_(255).sub_(0.5), int(self.labels[index])


class ByBatch(Images):
    """The same samples, a batch at a time: the loader calls `__getitems__` where a dataset has it."""

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """A whole batch: (n, 3, side, side) float32 and (n,) int64. Its `collate_fn` must leave it alone."""
        pixels = torch.from_numpy(self.images[indices]).permute(0, 3, 1, 2)
        return pixels.float().div_(255).sub_(0.5), torch.from_numpy(self.labels[indices])


def as_it_is(batch):
    """A collate function for batches that are made already."""
    return batch


def loader_of(dataset: Images, workers: int, batch: int = 64) -> DataLoader:
    """A loader over the dataset, whose workers live through all epochs."""
    return DataLoader(
        dataset,
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=as_it_is if isinstance(dataset, ByBatch) else None,
        multiprocessing_context=CONTEXT if workers else None,
    )


def epochs(datasets: dict[str, Images], workers: int, pairs: int = 5) -> Comparison:
    """Times of an epoch of each dataset, interleaved."""
    loaders = {name: loader_of(dataset, workers) for name, dataset in datasets.items()}
    try:
        ways = {name: (lambda loader=loader: sum(1 for _ in loader)) for name, loader in loaders.items()}
        return bench.compare(ways, pairs=pairs, warmup=1)
    finally:
        for loader in loaders.values():
            stop(loader)


def parts_of_a_batch(dataset: Images, batch: int = 64, pairs: int = 10) -> dict[str, float]:
    """Seconds of a batch by what they are spent on: pixels turned into floats, the samples made, and collated.

    The first is the arithmetic alone, for the whole batch at once; the others are what a loader does.
    """
    indices = list(range(batch))
    samples = [dataset[index] for index in indices]
    ways = {
        "arithmetic": lambda: torch.from_numpy(dataset.images[:batch]).float().div_(255).sub_(0.5),
        "samples made": lambda: [dataset[index] for index in indices],
        "collated": lambda: default_collate(samples),
    }
    spent = bench.compare(ways, pairs=pairs)
    return {name: spent.median(name) for name in ways}


def first_batches(workers: int, persistent: bool, context: str = CONTEXT, epochs: int = 2) -> list[float]:
    """Seconds until the first batch of each epoch."""
    loader = DataLoader(
        Images(256, 8),
        batch_size=64,
        num_workers=workers,
        persistent_workers=persistent,
        multiprocessing_context=context,
    )
    waited = []
    with launch.without_main():  # a server of forks would run this program's script again
        for _ in range(epochs):
            start = time.perf_counter()
            for number, _ in enumerate(loader):
                if number == 0:
                    waited.append(time.perf_counter() - start)
        stop(loader)
    return waited


def file_names(count: int) -> Iterator[str]:
    """So many names of photographs, as long as those of large data sets are."""
    return (f"photographs/train/class-{index % 1000:04d}/image-{index:012d}.jpg" for index in range(count))


class Paths(Dataset):
    """Names of files as a list of Python strings, each an object with a reference count."""

    def __init__(self, count: int):
        self.names = list(file_names(count))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> int:
        return len(self.names[index])


class PackedPaths(Paths):
    """The same names in two arrays: all bytes end to end, and where each begins."""

    def __init__(self, count: int):
        # Never a list of all names on the way: Python would keep much of its memory afterwards.
        coded, self.starts = bytearray(), np.zeros(count + 1, np.int64)
        for index, name in enumerate(file_names(count), start=1):
            coded += name.encode()
            self.starts[index] = len(coded)
        self.bytes = np.frombuffer(coded, np.uint8)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> int:
        name = self.bytes[self.starts[index] : self.starts[index + 1]].tobytes().decode()
        return len(name)


KINDS: dict[str, Callable[[int], Paths]] = {"list of strings": Paths, "two arrays": PackedPaths}


@dataclass(frozen=True)
class Private:
    """Bytes of a dataset, and of what each worker has of its own when it has read all of it."""

    dataset: float
    worker: float


def private_bytes(kind: str, count: int, workers: int) -> Private:
    """How much of the dataset each worker owns after an epoch.

    "Of its own" is the unique set size, pages in memory that no other process maps: /proc/PID/smaps_rollup says. Run
    it in a process that has nothing else in memory, as `effdl.launch` gives one.
    """
    before = _unique(os.getpid())
    dataset = KINDS[kind](count)
    size = _unique(os.getpid()) - before
    loader = DataLoader(
        dataset, batch_size=1000, shuffle=True, num_workers=workers, multiprocessing_context=CONTEXT
    )
    own = 0.0
    for number, _ in enumerate(loader, start=1):
        if number == len(loader):  # the workers have done all, and wait
            children = psutil.Process().children()
            own = sum(_unique(child.pid) for child in children) / max(len(children), 1)
    return Private(size, own)


def _unique(pid: int) -> int:
    return psutil.Process(pid).memory_full_info().uss


def compare_private(count: int, workers: int) -> dict[str, Private]:
    """`private_bytes` of each kind of KINDS, each in a process of its own."""
    run = launch.run
    return {kind: run(private_bytes, 1, args=(kind, count, workers), backend=None)[0] for kind in KINDS}


def copies_to_device(nbytes: int) -> Comparison:
    """Times to copy a batch to a GPU from pageable and from pinned memory."""
    pageable = torch.ones(nbytes, dtype=torch.uint8)
    pinned = pageable.pin_memory()
    ways = {
        "pageable": lambda: pageable.to("cuda", non_blocking=True),
        "pinned": lambda: pinned.to("cuda", non_blocking=True),
    }
    return bench.compare(ways)
