"""A model of PyTorch's CUDA caching allocator that runs on any machine.

``cudaMalloc`` and ``cudaFree`` wait for the device, so PyTorch avoids them: it asks the driver for large
*segments*, cuts them into *blocks*, and keeps freed blocks for the next request. This module follows the same
rules on simulated addresses. Nothing is allocated, only the books are kept.

Reference: ``c10/cuda/CUDACachingAllocator.cpp`` and ``c10/core/AllocatorConfig.h`` of PyTorch 2.13, default
settings (no ``max_split_size``, no expandable segments, no garbage collection, no ``record_stream``).
"""

import copy
import random
from dataclasses import dataclass, field

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MIB = 1024**2
MIN_BLOCK = 512  # every request is rounded up to a multiple of this
SMALL_LIMIT = 1 * MIB  # largest request that goes to the small pool
SMALL_SEGMENT = 2 * MIB  # the small pool asks the driver for segments of this size
MIDDLE_LIMIT = 10 * MIB  # requests above SMALL_LIMIT and below this share ...
LARGE_SEGMENT = 20 * MIB  # ... segments of this size
LARGE_ROUNDING = 2 * MIB  # from MIDDLE_LIMIT on, a segment is the request rounded up to this


class OutOfMemory(RuntimeError):
    """The device has no room for a new segment, even after every whole free segment was given back."""


@dataclass
class Block:
    """A piece of a segment: ``size`` bytes at ``address``, of which the user asked for ``requested``."""

    address: int
    size: int
    live: bool = False
    requested: int = 0


@dataclass
class Segment:
    """One ``cudaMalloc``: consecutive blocks that belong to one stream and one pool."""

    address: int
    size: int
    stream: int
    small: bool
    blocks: list[Block] = field(default_factory=list)


def round_size(nbytes):
    """Size in bytes of the block that serves a request of ``nbytes``."""
    return max(1, -(-nbytes // MIN_BLOCK)) * MIN_BLOCK


def segment_size(size):
    """Bytes asked of the driver when no cached block can serve a rounded request of ``size`` bytes."""
    if size <= SMALL_LIMIT:
        return SMALL_SEGMENT
    if size < MIDDLE_LIMIT:
        return LARGE_SEGMENT
    return -(-size // LARGE_ROUNDING) * LARGE_ROUNDING


def should_split(block_size, size, small):
    """Whether what is left of a block, once ``size`` bytes are taken, becomes a block of its own."""
    rest = block_size - size
    return rest >= MIN_BLOCK if small else rest > SMALL_LIMIT


class CachingAllocator:
    """The allocator of one device with ``capacity`` bytes (None: no limit).

    ``segments`` is public, to be looked at and drawn. Addresses are integers that mean nothing outside.
    """

    def __init__(self, capacity=None):
        self.capacity = capacity
        self.segments = []
        self._live = {}
        self._next_address = 0x7F00_0000_0000
        self._retries = 0
        self._ooms = 0
        self._peaks = {"allocated_bytes.all.peak": 0, "reserved_bytes.all.peak": 0}

    def malloc(self, nbytes, stream=0, base=None):
        """Allocate ``nbytes`` (at least 1) for work on ``stream``; return the address.

        ``base`` is the address to give to a new segment, should this request need one: a replay of a trace
        that ran on a GPU passes the address that was seen there.

        Raises:
            ValueError: ``nbytes`` is below 1 (PyTorch allocates nothing for an empty tensor).
            OutOfMemory: a new segment does not fit into ``capacity``.
        """
        if nbytes < 1:
            raise ValueError(
                f"cannot allocate {nbytes} bytes: an empty tensor needs no memory, so ask for 1 or more"
            )
        size = round_size(nbytes)
        segment, block = self._best_fit(size, stream) or self._new_segment(size, stream, base, nbytes)
        if should_split(block.size, size, segment.small):
            rest = Block(block.address + size, block.size - size)
            segment.blocks.insert(segment.blocks.index(block) + 1, rest)
            block.size = size
        block.live, block.requested = True, nbytes
        self._live[block.address] = segment, block
        self._note_peaks()
        return block.address

    def free(self, address):
        """Return a block to the cache and join it with its free neighbours. The segment stays reserved.

        Raises:
            ValueError: no live block starts at ``address``.
        """
        if address not in self._live:
            raise ValueError(
                f"no live block at {address:#x}: it was freed before, or malloc never returned it"
            )
        segment, block = self._live.pop(address)
        block.live, block.requested = False, 0
        at = segment.blocks.index(block)
        for left in (at, at - 1):  # the right neighbour first, so that `at - 1` still points to the left one
            if left >= 0 and left + 1 < len(segment.blocks):
                first, second = segment.blocks[left : left + 2]
                if not (first.live or second.live):
                    first.size += second.size
                    del segment.blocks[left + 1]

    def empty_cache(self):
        """Give back every segment that holds no live block; return the bytes given back."""
        keep = [s for s in self.segments if any(b.live for b in s.blocks)]
        given_back = sum(s.size for s in self.segments) - sum(s.size for s in keep)
        self.segments = keep
        return given_back

    def stats(self):
        """Counters under the keys of ``torch.cuda.memory_stats``, in bytes or numbers of blocks and segments.

        Keys: ``{allocation,allocated_bytes,requested_bytes,segment,reserved_bytes,inactive_split_bytes}``
        ``.{all,small_pool,large_pool}.current``, the ``.peak`` of allocated and reserved bytes, and
        ``num_alloc_retries``, ``num_ooms``.
        """
        out = {
            f"{name}.{pool}.current": 0 for name in _COUNTERS for pool in ("all", "small_pool", "large_pool")
        }
        for segment in self.segments:
            live = [b for b in segment.blocks if b.live]
            split = len(segment.blocks) > 1
            counted = {
                "allocation": len(live),
                "allocated_bytes": sum(b.size for b in live),
                "requested_bytes": sum(b.requested for b in live),
                "segment": 1,
                "reserved_bytes": segment.size,
                "inactive_split_bytes": sum(b.size for b in segment.blocks if not b.live) if split else 0,
            }
            for name, value in counted.items():
                out[f"{name}.all.current"] += value
                out[f"{name}.{'small' if segment.small else 'large'}_pool.current"] += value
        return {**out, **self._peaks, "num_alloc_retries": self._retries, "num_ooms": self._ooms}

    def segments_copy(self):
        """The segments as they are now, for a picture: later events do not change it."""
        return copy.deepcopy(self.segments)

    @property
    def allocated(self):
        """Bytes in live blocks: what ``torch.cuda.memory_allocated`` shows."""
        return sum(block.size for _, block in self._live.values())

    @property
    def reserved(self):
        """Bytes in segments: what ``torch.cuda.memory_reserved`` shows."""
        return sum(segment.size for segment in self.segments)

    def _best_fit(self, size, stream):
        """The smallest sufficient free block of the same stream and pool; of equals, the lowest address."""
        small = size <= SMALL_LIMIT
        fits = [
            (block.size, block.address, segment, block)
            for segment in self.segments
            if segment.stream == stream and segment.small == small
            for block in segment.blocks
            if not block.live and block.size >= size
        ]
        return min(fits, key=lambda fit: fit[:2])[2:] if fits else None

    def _new_segment(self, size, stream, base, nbytes):
        total = segment_size(size)
        if not self._fits(total):
            self._retries += 1
            self.empty_cache()
        if not self._fits(total):
            self._ooms += 1
            raise OutOfMemory(
                f"tried to allocate {nbytes / MIB:.2f} MiB: of {self.capacity / MIB:.2f} MiB, "
                f"{self.allocated / MIB:.2f} MiB are allocated and "
                f"{(self.reserved - self.allocated) / MIB:.2f} MiB reserved but unallocated; "
                f"a segment of {total / MIB:.2f} MiB does not fit"
            )
        address = self._next_address if base is None else base
        self._next_address = max(self._next_address, address + total)
        block = Block(address, total)
        segment = Segment(address, total, stream, size <= SMALL_LIMIT, [block])
        self.segments.append(segment)
        return segment, block

    def _fits(self, nbytes):
        return self.capacity is None or self.reserved + nbytes <= self.capacity

    def _note_peaks(self):
        for name, now in (("allocated_bytes", self.allocated), ("reserved_bytes", self.reserved)):
            key = f"{name}.all.peak"
            self._peaks[key] = max(self._peaks[key], now)


_COUNTERS = (
    "allocation",
    "allocated_bytes",
    "requested_bytes",
    "segment",
    "reserved_bytes",
    "inactive_split_bytes",
)


def random_trace(steps, seed):
    """A list of ``("malloc", name, nbytes)``, ``("free", name, 0)`` and ``("empty_cache", 0, 0)`` events.

    Sizes are log-uniform from 1 byte to 64 MiB, so that both pools and every rounding rule are used.
    """
    rng = random.Random(seed)
    trace, live = [], []
    for name in range(steps):
        kind = rng.choices(("malloc", "free", "empty_cache"), weights=(55, 43, 2))[0]
        if kind == "free" and live:
            trace.append(("free", live.pop(rng.randrange(len(live))), 0))
        elif kind == "empty_cache":
            trace.append(("empty_cache", 0, 0))
        else:
            trace.append(("malloc", name, int(2 ** rng.uniform(0, 26))))
            live.append(name)
    return trace


def replay(trace, allocator, bases=None):
    """Run a trace on the model; return its address for every malloc and its statistics after every event.

    ``bases[i]`` is passed as the ``base`` of event ``i`` (see :meth:`CachingAllocator.malloc`).
    """
    live, addresses, history = {}, [], []
    for i, (kind, name, nbytes) in enumerate(trace):
        if kind == "malloc":
            live[name] = allocator.malloc(nbytes, base=bases[i] if bases else None)
        elif kind == "free":
            allocator.free(live.pop(name))
        else:
            allocator.empty_cache()
        addresses.append(live.get(name) if kind == "malloc" else None)
        history.append(allocator.stats())
    return addresses, history


def replay_on_cuda(trace):
    """Run a trace through PyTorch on the current CUDA device; return what :func:`replay` returns.

    The trace runs on a stream of its own, whose pools are empty at the start, and the statistics are
    differences from that start: what the process already holds does not matter.
    """
    torch.cuda.empty_cache()
    before = torch.cuda.memory_stats()
    live, addresses, history = {}, [], []
    with torch.cuda.stream(torch.cuda.Stream()):
        for kind, name, nbytes in trace:
            if kind == "malloc":
                live[name] = torch.empty(nbytes, dtype=torch.uint8, device="cuda")
            elif kind == "free":
                del live[name]
            else:
                torch.cuda.empty_cache()
            addresses.append(live[name].data_ptr() if kind == "malloc" else None)
            history.append(
                {key: value - before.get(key, 0) for key, value in torch.cuda.memory_stats().items()}
            )
    return addresses, history


def agreement(trace):
    """Share of events of a trace after which model and CUDA device agree in every address and every counter.

    Counters compared: every ``.current`` one of :meth:`CachingAllocator.stats`. Needs a CUDA device.
    """
    seen, device = replay_on_cuda(trace)
    predicted, model = replay(trace, CachingAllocator(), bases=seen)
    same = [
        a == b and all(real[key] == value for key, value in ours.items() if key.endswith(".current"))
        for a, b, ours, real in zip(predicted, seen, model, device, strict=True)
    ]
    return sum(same) / len(same)


class RecordAllocations(TorchDispatchMode):
    """Context manager that records which tensor storages PyTorch operations create and release, as a trace.

    Works on every device, ``meta`` included, where nothing is computed and nothing allocated. Seen are the
    results of operations; scratch space inside a kernel is not. A storage released between two operations is
    recorded as freed before the second. Call :meth:`close` for the events after the last operation.
    """

    def __init__(self):
        super().__init__()
        self.trace = []
        self._alive = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.close()
        known = {
            t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)
        }
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage(), known)
        return result

    def _note(self, storage, known):
        if storage.nbytes() and storage._cdata not in known and storage._cdata not in self._alive:
            name = len(self.trace)
            self._alive[storage._cdata] = name, StorageWeakRef(storage)
            self.trace.append(("malloc", name, storage.nbytes()))

    def close(self):
        """Record the release of every storage that is gone; return the trace so far."""
        for key, (name, reference) in list(self._alive.items()):
            if reference.expired():
                del self._alive[key]
                self.trace.append(("free", name, 0))
        return self.trace
