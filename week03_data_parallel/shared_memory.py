"""All-reduce through memory that the ranks of one host share, and a two-level one for several hosts.

A message over the loopback is copied into the kernel and out of it again. Ranks on one host can write to the same
memory instead, and then need nothing but a way to wait for each other: semaphores of the C library that live in
that memory too. Linux only.
"""

import ctypes
import os
import sys
import tempfile

import torch
import torch.distributed as dist

from week03_data_parallel.ring import RingSum

BLOCK = 16 * 2**20
"""Bytes of a tensor that go through the shared memory at a time."""
PIECE = 2**15
"""Elements that are added up at a time, so that the sum stays in the cache."""
PATIENCE = 60
"""Seconds after which a rank that waits for the others gives up."""
_SEMAPHORE = 64  # bytes set aside for one; sem_t takes 32 on 64-bit Linux


class SharedMemory:
    """Memory of all ranks of `group`, which must run on one host; and a barrier.

    `slots` is [ranks, bytes_per_rank] uint8. Nothing is left in the file system, however the ranks end.
    """

    def __init__(self, bytes_per_rank: int, group: dist.ProcessGroup | None = None):
        if sys.platform != "linux":
            raise OSError("process-shared semaphores in shared memory need Linux; use RingSum here")
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
        semaphores = 2 * self.world * _SEMAPHORE
        size = self.world * bytes_per_rank
        first = dist.get_global_rank(group, 0) if group else 0
        path = [_new_file(size + semaphores) if self.rank == 0 else None]
        dist.broadcast_object_list(path, src=first, group=group)
        memory = torch.from_file(path[0], shared=True, size=size + semaphores, dtype=torch.uint8)
        self.slots = memory[:size].view(self.world, bytes_per_rank)
        self._semaphores = memory.data_ptr() + size
        self._libc = ctypes.CDLL(None, use_errno=True)
        if self.rank == 0:
            for place in range(2 * self.world):
                self._libc.sem_init(self._semaphore(place), 1, 0)
        dist.barrier(group)
        if self.rank == 0:
            os.unlink(path[0])  # mapped by all: the memory lives until the last of them ends

    def barrier(self) -> None:
        """Return when all ranks have come here: everyone tells the first, the first tells everyone."""
        if self.rank == 0:
            for rank in range(1, self.world):
                self._take(rank)
            for rank in range(1, self.world):
                self._libc.sem_post(self._semaphore(self.world + rank))
        else:
            self._libc.sem_post(self._semaphore(self.rank))
            self._take(self.world + self.rank)

    def _semaphore(self, place: int) -> ctypes.c_void_p:
        return ctypes.c_void_p(self._semaphores + place * _SEMAPHORE)

    def _take(self, place: int) -> None:
        """Wait for a post. Raises TimeoutError when none comes: another rank has died or is stuck."""
        until = (ctypes.c_long * 2)()
        self._libc.clock_gettime(0, until)
        until[0] += PATIENCE
        while self._libc.sem_timedwait(self._semaphore(place), until):
            if ctypes.get_errno() == 110:  # ETIMEDOUT; a signal may also end the wait, with EINTR
                raise TimeoutError(f"rank {self.rank} waited {PATIENCE} s for another rank of this host")


def _new_file(size: int) -> str:
    """A file of zeros in memory, of `size` bytes; its path."""
    descriptor, path = tempfile.mkstemp(prefix="effdl-", dir="/dev/shm")
    try:
        os.posix_fallocate(
            descriptor, 0, size
        )  # fails here, and not with a bus error later, if there is no room
    except OSError as error:
        os.unlink(path)
        raise OSError(
            f"/dev/shm has no room for {size:,} bytes: use a smaller block or fewer ranks"
        ) from error
    finally:
        os.close(descriptor)
    return path


class SharedSum:
    """Sum of a contiguous tensor over the ranks of one host, in place.

    Each rank owns a share of the tensor. It publishes the other shares, adds what the others published of its own,
    publishes that sum, and takes the others' sums: two barriers, and no message.
    """

    def __init__(self, group: dist.ProcessGroup | None = None, block: int = BLOCK):
        world = dist.get_world_size(group)
        self.block, share = block, (block // world // 64 + 2) * 64
        self.memory = SharedMemory(world * share, group)
        # A share has a fixed place, whatever the length of the tensor: see collect().
        self._places = self.memory.slots.view(world, world, share)

    def __call__(self, tensor: torch.Tensor) -> None:
        """Replace `tensor` by its sum over the ranks."""
        flat = tensor.view(-1)
        for part in flat.split(self.block // flat.element_size()):
            shares, published = self.cut(part)
            self.publish(shares, published)
            self.memory.barrier()
            self.add_own(shares, published)
            self.memory.barrier()
            self.collect(shares, published)

    def cut(self, part: torch.Tensor):
        """The shares of `part` by owner, and the memory in which rank r publishes share s, as published[r][s]."""
        shares = part.tensor_split(self.memory.world)
        published = [
            [place[: share.nbytes].view(part.dtype) for place, share in zip(slot, shares, strict=True)]
            for slot in self._places
        ]
        return shares, published

    def publish(self, shares, published) -> None:
        """Copy what the others will add: all shares of this rank's tensor but its own."""
        for owner in self._others():
            published[self.memory.rank][owner].copy_(shares[owner])

    def add_own(self, shares, published) -> None:
        """Add what the others published of this rank's share, and publish the sum.

        In pieces that stay in the cache: a share that is swept once for each rank comes from memory each time.
        """
        rank = self.memory.rank
        sources = [shares[rank], published[rank][rank], *(published[other][rank] for other in self._others())]
        for total, public, *terms in zip(*(source.split(PIECE) for source in sources), strict=True):
            for term in terms:
                total += term
            public.copy_(total)

    def collect(self, shares, published) -> None:
        """Take the sums that the others published: each stays in its place until after the next first barrier."""
        for owner in self._others():
            shares[owner].copy_(published[owner][owner])

    def _others(self) -> list[int]:
        # Each starts with its neighbour, so that no two read the same memory at once.
        world = self.memory.world
        return [(self.memory.rank + k) % world for k in range(1, world)]


class SharedBucket:
    """A tensor that lives in shared memory from the start, as the gradients of a bucket can.

    Nothing has to be published then: each rank adds up its share over all ranks and writes the sum to all of them.
    """

    def __init__(
        self, numel: int, dtype: torch.dtype = torch.float32, group: dist.ProcessGroup | None = None
    ):
        nbytes = (numel * dtype.itemsize // 64 + 1) * 64
        self.memory = SharedMemory(nbytes, group)
        self._everyone = [slot.view(dtype)[:numel] for slot in self.memory.slots]
        self.tensor = self._everyone[self.memory.rank]

    def all_reduce(self) -> None:
        """Replace `tensor` by its sum over the ranks, on every rank."""
        rank, world = self.memory.rank, self.memory.world
        self.memory.barrier()
        shares = [tensor.tensor_split(world)[rank] for tensor in self._everyone]
        for pieces in zip(*(share.split(PIECE) for share in shares), strict=True):
            total = pieces[0].clone()
            for piece in pieces[1:]:
                total += piece
            for piece in pieces:
                piece.copy_(total)
        self.memory.barrier()


class HierarchicalSum:
    """Two levels, for ranks on several hosts: shared memory inside a host, a ring between the hosts.

    Each rank adds up its share inside its host, then runs a ring with the ranks of the same place on the other
    hosts, for that share alone; so every rank of a host uses the network, each for 1/`per_host` of the tensor.
    All ranks must create it together. One object serves tensors of one shape and dtype.
    """

    def __init__(self, like: torch.Tensor, per_host: int):
        rank, world = dist.get_rank(), dist.get_world_size()
        if world % per_host:
            raise ValueError(f"{world} ranks do not fill hosts of {per_host}; choose a divisor of {world}")
        hosts = [list(range(first, first + per_host)) for first in range(0, world, per_host)]
        peers = [list(range(place, world, per_host)) for place in range(per_host)]
        groups = {tuple(ranks): dist.new_group(ranks) for ranks in hosts + peers}
        self.inside = SharedSum(groups[tuple(hosts[rank // per_host])], block=like.nbytes)
        mine = like.view(-1).tensor_split(per_host)[rank % per_host]
        self.between = RingSum(mine, group=groups[tuple(peers[rank % per_host])])

    def __call__(self, tensor: torch.Tensor) -> None:
        """Replace `tensor` by its sum over all ranks."""
        inside, rank = self.inside, self.inside.memory.rank
        shares, published = inside.cut(tensor.view(-1))
        inside.publish(shares, published)
        inside.memory.barrier()
        inside.add_own(shares, published)
        self.between(shares[rank])
        published[rank][rank].copy_(shares[rank])
        inside.memory.barrier()
        inside.collect(shares, published)
