"""The allocator model: published numbers, rules at their edges, invariants of any history."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from week01_intro.allocator import (
    MIB,
    CachingAllocator,
    OutOfMemory,
    RecordAllocations,
    agreement,
    random_trace,
    replay,
    round_size,
    segment_size,
)

KIB = 1024


def test_published_sequence_of_reserved_bytes_is_reproduced():
    """The numbers that the course's GPU notebooks printed for float32 tensors of 4096 rows."""
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(4096 * 2048 * 4))
    assert (allocator.allocated, allocator.reserved) == (0, 33_554_432)
    allocator.free(allocator.malloc(4096 * 1024 * 4))
    assert allocator.reserved == 33_554_432
    allocator.malloc(4096 * 3072 * 4)
    assert allocator.reserved == 83_886_080
    allocator.empty_cache()
    assert allocator.reserved == 50_331_648


@pytest.mark.parametrize(
    ("nbytes", "block", "segment"),
    [
        (1, 512, 2 * MIB),
        (512, 512, 2 * MIB),
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB),
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB - 511, 10 * MIB, 10 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB),
        (10 * MIB + 1, 10 * MIB + 512, 12 * MIB),
        (48 * MIB, 48 * MIB, 48 * MIB),
    ],
)
def test_rounding_follows_the_allocator_at_every_edge(nbytes, block, segment):
    assert (round_size(nbytes), segment_size(round_size(nbytes))) == (block, segment)
    allocator = CachingAllocator()
    allocator.malloc(nbytes)
    assert allocator.reserved == segment


@pytest.mark.parametrize(
    ("first", "allocated"),
    [
        (20 * MIB - MIB, 20 * MIB),  # a rest of exactly 1 MiB is not split off: it belongs to the block
        (20 * MIB - MIB - 512, 20 * MIB - MIB - 512),
    ],
)
def test_large_block_is_split_only_above_one_mib_of_rest(first, allocated):
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(20 * MIB))
    allocator.malloc(first)
    assert (allocator.allocated, allocator.reserved) == (allocated, 20 * MIB)


def test_small_block_is_split_down_to_512_bytes():
    allocator = CachingAllocator()
    for _ in range(2 * MIB // 512):
        allocator.malloc(1)
    assert (allocator.allocated, allocator.reserved) == (2 * MIB, 2 * MIB)
    allocator.malloc(1)
    assert allocator.reserved == 4 * MIB


def test_best_fit_prefers_the_smallest_block_then_the_lowest_address():
    allocator = CachingAllocator()
    large, middle, twin = (allocator.malloc(size * MIB) for size in (40, 30, 30))
    for address in (large, twin, middle):
        allocator.free(address)
    assert [allocator.malloc(28 * MIB) for _ in range(3)] == [middle, twin, large]


def test_blocks_are_not_reused_on_another_stream():
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(32 * MIB, stream=0))
    allocator.malloc(32 * MIB, stream=1)
    assert allocator.reserved == 64 * MIB


def test_pools_are_separate():
    allocator = CachingAllocator()
    allocator.free(allocator.malloc(32 * MIB))
    allocator.malloc(100)
    stats = allocator.stats()
    assert stats["reserved_bytes.small_pool.current"] == 2 * MIB
    assert stats["reserved_bytes.large_pool.current"] == 32 * MIB


def test_full_device_first_gives_back_whole_free_segments_then_fails():
    allocator = CachingAllocator(capacity=64 * MIB)
    allocator.free(allocator.malloc(40 * MIB))
    kept = allocator.malloc(20 * MIB)  # takes the front of the 40 MiB segment and pins all of it
    allocator.malloc(24 * MIB)
    with pytest.raises(OutOfMemory, match=r"20\.00 MiB reserved but unallocated"):
        allocator.malloc(22 * MIB)
    allocator.free(kept)
    allocator.malloc(36 * MIB)
    stats = allocator.stats()
    assert (stats["num_alloc_retries"], stats["num_ooms"]) == (1, 1)
    assert stats["reserved_bytes.all.peak"] == 64 * MIB


@pytest.mark.parametrize("nbytes", [0, -1])
def test_empty_request_is_refused(nbytes):
    with pytest.raises(ValueError, match="ask for 1 or more"):
        CachingAllocator().malloc(nbytes)


def test_double_free_is_refused():
    allocator = CachingAllocator()
    address = allocator.malloc(1)
    allocator.free(address)
    with pytest.raises(ValueError, match="no live block"):
        allocator.free(address)


class AnyHistory(RuleBasedStateMachine):
    """Whatever is asked, in whatever order, the books stay right."""

    @initialize(capacity=st.sampled_from([None, 64 * MIB]))
    def start(self, capacity):
        self.allocator = CachingAllocator(capacity)
        self.live = {}

    @rule(nbytes=st.integers(1, 48 * MIB) | st.integers(1, 2 * MIB), stream=st.integers(0, 1))
    def malloc(self, nbytes, stream):
        try:
            address = self.allocator.malloc(nbytes, stream)
        except OutOfMemory:
            assert self.allocator.capacity is not None
            return
        assert address not in self.live
        self.live[address] = nbytes

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def free(self, data):
        address = data.draw(st.sampled_from(sorted(self.live)))
        del self.live[address]
        before = self.allocator.reserved
        self.allocator.free(address)
        assert self.allocator.reserved == before

    @rule()
    def empty_cache(self):
        used = [s.address for s in self.allocator.segments if any(b.live for b in s.blocks)]
        before = self.allocator.reserved
        given_back = self.allocator.empty_cache()
        assert [s.address for s in self.allocator.segments] == used
        assert self.allocator.reserved == before - given_back

    @invariant()
    def live_blocks_never_overlap(self):
        blocks = sorted((b.address, b.size) for s in self.allocator.segments for b in s.blocks if b.live)
        assert [address for address, _ in blocks] == sorted(self.live)
        for (start, size), (following, _) in itertools.pairwise(blocks):
            assert start + size <= following

    @invariant()
    def blocks_tile_their_segment_and_free_neighbours_are_joined(self):
        for segment in self.allocator.segments:
            at = segment.address
            for block in segment.blocks:
                assert block.address == at
                assert block.size % 512 == 0
                assert block.size > 0
                at += block.size
            assert at == segment.address + segment.size
            pairs = itertools.pairwise(segment.blocks)
            assert not any(not a.live and not b.live for a, b in pairs)

    @invariant()
    def requested_at_most_allocated_at_most_reserved_at_most_capacity(self):
        stats = self.allocator.stats()
        assert stats["requested_bytes.all.current"] == sum(self.live.values())
        assert stats["requested_bytes.all.current"] <= self.allocator.allocated <= self.allocator.reserved
        assert self.allocator.capacity is None or self.allocator.reserved <= self.allocator.capacity

    @invariant()
    def statistics_are_consistent(self):
        stats = self.allocator.stats()
        assert stats["allocated_bytes.all.current"] == self.allocator.allocated
        assert stats["reserved_bytes.all.current"] == self.allocator.reserved
        assert stats["allocation.all.current"] == len(self.live)
        for name in ("allocation", "allocated_bytes", "reserved_bytes", "segment", "inactive_split_bytes"):
            parts = [stats[f"{name}.{pool}_pool.current"] for pool in ("small", "large")]
            assert sum(parts) == stats[f"{name}.all.current"]
        for name in ("allocated_bytes", "reserved_bytes"):
            assert stats[f"{name}.all.peak"] >= stats[f"{name}.all.current"]


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(1, 30 * MIB), min_size=1, max_size=20), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_everything_freed_coalesces_into_whole_segments(sizes, rng):
    allocator = CachingAllocator()
    addresses = [allocator.malloc(size) for size in sizes]
    rng.shuffle(addresses)
    for address in addresses:
        allocator.free(address)
    assert all(len(segment.blocks) == 1 for segment in allocator.segments)
    assert allocator.stats()["inactive_split_bytes.all.current"] == 0
    allocator.empty_cache()
    assert allocator.reserved == 0


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_random_trace_replays_from_any_seed_and_repeats_itself(seed):
    trace = random_trace(60, seed)
    assert trace == random_trace(60, seed)
    addresses, history = replay(trace, CachingAllocator())
    assert len(addresses) == len(history) == len(trace)
    assert [a is not None for a in addresses] == [kind == "malloc" for kind, _, _ in trace]


def test_replay_with_bases_seen_elsewhere_shifts_every_segment():
    trace = random_trace(80, 3)
    seen, history = replay(trace, CachingAllocator())
    shifted = [None if a is None else a + 2**44 for a in seen]
    addresses, again = replay(trace, CachingAllocator(), bases=shifted)
    assert addresses == shifted
    assert again == history


def test_recorder_sees_each_storage_once_and_its_release():
    with RecordAllocations() as recorder:
        a = torch.ones(1000)
        view = a[10:]  # shares the storage of a
        b = a * 2
        a.add_(1)  # in place: nothing new
        del a, b
        view.sum()
    trace = recorder.close()
    sizes = [nbytes for kind, _, nbytes in trace if kind == "malloc"]
    assert sizes == [4000, 4000, 4]
    freed = [name for kind, name, _ in trace if kind == "free"]
    assert freed == [1, 3]  # b, then the sum; the storage of a lives on in its view
    del view


def test_recorder_predicts_the_peak_of_a_step_on_meta_tensors():
    def step():
        x = torch.empty(256, 1024, device="meta", requires_grad=True)
        (x * 3).exp().sum().backward()

    with RecordAllocations() as recorder:
        step()
    allocator = CachingAllocator()
    replay(recorder.close(), allocator)
    assert allocator.allocated == 0
    # exp saves its result; its input is gone by then: x, result, then the gradients on the way back
    assert 3 * MIB <= allocator.stats()["allocated_bytes.all.peak"] <= 4 * MIB + 1024


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("seed", range(3))
def test_model_and_cuda_agree_in_addresses_and_counters(seed):
    assert agreement(random_trace(400, seed)) == 1.0
