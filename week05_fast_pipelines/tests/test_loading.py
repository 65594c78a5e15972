"""The queueing model obeys its limits, loaders return what their datasets hold, memory is read from the kernel."""

import os

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from week05_fast_pipelines import loading

times = st.floats(0.001, 1)


@given(
    service=times, consume=times, workers=st.integers(1, 6), prefetch=st.integers(2, 4), order=st.booleans()
)
def test_equal_batches_come_as_fast_as_the_slower_side_allows(service, consume, workers, prefetch, order):
    period = loading.simulate([service] * 300, workers, prefetch, consume, order)
    # Batches that wait when the first one is handed out help for a while.
    slack = workers * prefetch * max(service, consume) / 299
    assert period == pytest.approx(max(consume, service / workers), abs=slack + 1e-9)


@given(st.lists(times, min_size=2, max_size=40), times, st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_no_loader_is_faster_than_its_consumer_or_slower_than_one_worker_without_overlap(
    service, consume, workers, prefetch, order
):
    period = loading.simulate(service, workers, prefetch, consume, order)
    assert period >= consume - 1e-9
    assert period * (len(service) - 1) <= sum(service) + consume * len(service) + 1e-9


@given(st.lists(times, min_size=2, max_size=40), times, st.integers(1, 5), st.integers(1, 4))
def test_all_batches_are_there_no_later_with_a_larger_prefetch(service, consume, workers, prefetch):
    """In order; the period counts from the first batch, which no prefetching moves."""
    small, large = (loading.simulate(service, workers, p, consume) for p in (prefetch, prefetch + 1))
    assert large <= small + 1e-9


def test_a_late_batch_holds_up_a_loader_in_order_more_than_one_out_of_order():
    service = loading.stragglers(64, 1.0, 16, 12)
    assert loading.simulate(service, 4, 1, 0.5, in_order=False) < 0.8 * loading.simulate(service, 4, 1, 0.5)


def test_one_batch_has_no_time_to_the_next():
    with pytest.raises(ValueError, match="two batches"):
        loading.simulate([1.0], 1, 2, 1.0)


@pytest.mark.parametrize("in_order", [True, False])
def test_a_real_loader_hands_out_every_batch_and_no_faster_than_its_workers(in_order):
    seen = loading.flow([0.004] * 12, 2, 2, 0.001, in_order)
    assert len(seen.service) == 12
    assert all(seconds >= 0.004 for seconds in seen.service)
    assert seen.consume >= 0.001


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_made_at_once_are_those_made_sample_by_sample(workers):
    one, other = (loading.loader_of(kind(100, 8), workers, 32) for kind in (loading.Images, loading.ByBatch))
    for (pixels, labels), (same, too) in zip(one, other, strict=True):
        assert torch.equal(pixels, same)
        assert torch.equal(labels, too)
    for loader in (one, other):
        loading.stop(loader)


def test_names_in_arrays_are_those_of_the_list():
    lists, arrays = loading.Paths(50), loading.PackedPaths(50)
    assert len(arrays) == len(lists) == 50
    assert [arrays[k] for k in range(50)] == [lists[k] for k in range(50)]
    first = arrays.bytes[arrays.starts[3] : arrays.starts[4]].tobytes().decode()
    assert first == lists.names[3]


@pytest.mark.alone
def test_workers_own_the_list_that_they_read_and_not_the_arrays():
    owned = loading.compare_private(60_000, workers=1)
    lists, arrays = owned["list of strings"], owned["two arrays"]
    assert lists.worker - arrays.worker > 0.3 * lists.dataset


def children():
    """Process ids of this process's children, less the one that Python starts to tidy up after all others."""
    found = psutil.Process(os.getpid()).children()
    return {child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())}


@pytest.mark.parametrize("persistent", [False, True])
def test_every_epoch_has_a_first_batch_and_leaves_no_worker(persistent):
    before = children()
    assert len(loading.first_batches(1, persistent)) == 2
    assert children() <= before


def test_parts_of_a_batch_are_all_timed():
    parts = loading.parts_of_a_batch(loading.Images(64, 8), pairs=1)
    assert set(parts) == {"arithmetic", "samples made", "collated"}
    assert min(parts.values()) > 0
