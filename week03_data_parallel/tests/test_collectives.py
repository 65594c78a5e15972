"""On real ranks: every all-reduce gives the sum, for awkward lengths too, and leaves nothing behind."""

import os
import time

import pytest
import torch
import torch.distributed as dist

from effdl import launch
from week03_data_parallel import point_to_point, schedules
from week03_data_parallel.ring import RingSum
from week03_data_parallel.shared_memory import HierarchicalSum, SharedBucket, SharedSum

LENGTHS = [0, 1, 3, 1000, 20_003]


def tensors(length, dtype):
    """What every rank holds: integers as floats, so that sums are exact in any order."""
    generator = torch.Generator().manual_seed(length)
    return torch.randint(-99, 99, (dist.get_world_size(), length), generator=generator).to(dtype)


def wrong_on_rank():
    """(Name, length) of every all-reduce that gave a wrong sum; called on every rank."""
    world, rank, wrong = dist.get_world_size(), dist.get_rank(), []
    shared = SharedSum(
        block=4096
    )  # small, so that long tensors take many blocks and a last one that is short
    for length in LENGTHS:
        for dtype in (torch.float32, torch.float64) if length > 999 else (torch.float32,):
            every = tensors(length, dtype)
            mine, total = every[rank], every.sum(0)
            sums = {
                name: lambda t, m=m: point_to_point.execute(m(world), t) for name, m in schedules.FLAT.items()
            }
            sums |= {"ring in segments": RingSum(mine, segment=64), "shared memory": shared}
            if world % 2 == 0 and length in (3, 20_003):
                sums["hierarchical"] = HierarchicalSum(mine, per_host=2)
            for name, reduce in sums.items():
                for attempt in range(2):
                    result = mine.clone()
                    reduce(result)
                    if not torch.equal(result, total):
                        wrong.append((name, length, dtype, attempt))
            bucket = SharedBucket(length, dtype)
            bucket.tensor.copy_(mine)
            bucket.all_reduce()
            if not torch.equal(bucket.tensor, total):
                wrong.append(("bucket", length, dtype))
    return wrong


def left_in_memory(before):
    return {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("effdl-")}


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_every_all_reduce_gives_the_sum(world):
    before = set(os.listdir("/dev/shm"))
    assert launch.run(wrong_on_rank, ranks=world) == [[]] * world
    # What another program of this machine has there for a moment goes away; what our ranks left would not.
    until = time.monotonic() + 60
    while (left := left_in_memory(before)) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == set()


def slowed_on_rank(alpha):
    tensor, schedule = torch.ones(8), schedules.ring(dist.get_world_size())
    link = point_to_point.SlowLink(alpha, 0.0)
    dist.barrier()
    begin = time.perf_counter()
    point_to_point.execute(schedule, tensor, link)
    return time.perf_counter() - begin


def test_a_slow_link_delays_every_round():
    assert min(launch.run(slowed_on_rank, ranks=3, args=(0.02,))) >= 4 * 0.02


def stuck_on_rank():
    from week03_data_parallel import shared_memory

    shared_memory.PATIENCE = 1
    memory = shared_memory.SharedMemory(64)
    if dist.get_rank() == 0:
        memory.barrier()
    else:
        time.sleep(3)


def test_a_rank_that_waits_in_vain_says_so():
    with pytest.raises(launch.LaunchError, match="waited 1 s for another rank"):
        launch.run(stuck_on_rank, ranks=2)
