"""All layouts hold the same samples, however they are read; the kernel tells what is cached and what was opened."""

import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effdl.data import cache_folder
from week05_fast_pipelines import page_cache, storage

SAMPLES = [(bytes([index % 251]) * (index * 37 % 1500), index % 7) for index in range(1, 60)]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.Shards, "per_shard", 25)
    return storage.write_all(tmp_path, SAMPLES)


@pytest.mark.parametrize("name", [*storage.LAYOUTS, "webdataset"])
def test_every_layout_gives_back_all_samples_in_their_order(folders, name):
    layout = {**storage.LAYOUTS, "webdataset": storage.WebDataset}[name]
    assert list(layout(folders.get(name, folders["tar shards"])).in_order()) == SAMPLES


@pytest.mark.parametrize("name", storage.LAYOUTS)
def test_a_sample_at_an_index_is_that_sample_also_across_shards(folders, name):
    layout = storage.LAYOUTS[name](folders[name])
    for index in (0, 24, 25, 49, 50, len(SAMPLES) - 1, 3):
        assert layout.at(index) == SAMPLES[index]


def test_a_sample_behind_the_last_is_no_sample(folders):
    for name in ("tar shards", "tar shards, indexed", "Arrow", "small files"):
        with pytest.raises(IndexError):
            storage.LAYOUTS[name](folders[name]).at(10**6)


def test_shards_are_tar_files_that_any_tool_reads(folders):
    with tarfile.open(folders["tar shards"] / "0001.tar") as shard:
        assert shard.getnames()[:2] == ["000025.jpg", "000025.cls"]


def test_a_race_has_a_reading_of_each_round_and_names_them_for_a_comparison(folders):
    found = storage.race(folders, rounds=2, count=3)
    assert all(len(readings) == 2 for readings in found.values())
    times = storage.compared(found)
    assert times.ratio("Arrow, at random, cold", "Arrow, at random, warm").value > 0
    assert "webdataset, at random, cold" not in times.timings


def test_what_is_written_anew_for_one_sample_is_the_file_it_lies_in(folders):
    anew = storage.rewritten(folders)
    assert anew["small files"] == len(SAMPLES[0][0])
    assert anew["tar shards"] == (folders["tar shards"] / "0000.tar").stat().st_size
    assert anew["Arrow"] > sum(len(content) for content, _ in SAMPLES)


@given(st.lists(st.integers()), st.integers(0, 20), st.integers(0, 3))
def test_a_shuffle_buffer_loses_and_doubles_nothing_and_lets_nothing_leave_too_early(items, size, seed):
    numbered = list(enumerate(items))
    out = list(storage.shuffled(numbered, size, seed))
    assert sorted(out) == sorted(numbered)
    assert all(index <= place + size for place, (index, _) in enumerate(out))


def test_a_buffer_of_nothing_leaves_the_order_and_of_all_is_a_permutation():
    assert list(storage.shuffled(range(50), 0)) == list(range(50))
    assert list(storage.shuffled(range(50), 50)) != list(range(50))


def test_larger_buffers_mix_better_and_none_as_well_as_a_permutation():
    mixed = storage.mixing(6000, 60, 32, 50, 100)
    stored, small, large, *_, permuted = mixed.values()
    assert stored < small < large < permuted


def test_classes_are_counted_in_full_batches_only():
    assert storage.classes_in_batch([1, 1, 2, 3, 3, 3, 9], 3) == 1.5


@pytest.fixture
def on_disk():
    """A file of 1 MiB on a real disk, or a skip: a file system in memory drops nothing."""
    path = cache_folder() / f"evict-{os.getpid()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(2**20))
    page_cache.evict([path])
    try:
        if page_cache.resident([path]):
            pytest.skip("this file system keeps its pages")
        yield path
    finally:
        path.unlink()


def test_eviction_empties_and_reading_fills_the_cache(on_disk):
    on_disk.read_bytes()
    assert page_cache.resident([on_disk]) == 1
    page_cache.evict([on_disk])
    assert page_cache.resident([on_disk]) == 0


def test_an_empty_file_has_no_pages_and_does_not_count(tmp_path):
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.touch()
    full.write_bytes(b"x")
    page_cache.evict([empty])
    assert page_cache.resident([empty, full]) in (0, 1)
    with pytest.raises(ValueError, match="not empty"):
        page_cache.resident([empty])


def test_without_a_watch_opens_are_unknown_and_reads_are_counted_all_the_same(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with page_cache.counting([tmp_path / "is-not-there"]) as counts:
        (tmp_path / "file").read_bytes()
    assert counts.opens is None
    assert counts.reads >= 2


def test_what_is_read_ahead_is_a_number_of_the_disk_and_unknown_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "major", lambda device: 2**20)
    assert page_cache.read_ahead(tmp_path) is None
    monkeypatch.undo()
    found = page_cache.read_ahead(cache_folder())
    assert found is None or 0 <= found < 2**30


@settings(max_examples=5)
@given(st.integers(1, 20))
def test_every_open_and_every_read_is_counted(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("counted")
    paths = [folder / str(index) for index in range(files)]
    for path in paths:
        path.write_bytes(b"content")
    with page_cache.counting([folder]) as counts:
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            os.read(descriptor, 100)
            os.close(descriptor)
    assert counts.opens == files
    assert counts.reads >= files  # other threads of a test process read too
