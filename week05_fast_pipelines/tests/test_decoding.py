"""Decoders agree, reduced ones keep the size they were asked for, crops are the crops of the whole image."""

import time

import cv2
import numpy as np
import pytest
import torch

from effdl.bench import Comparison
from week05_fast_pipelines import decoding, photographs


@pytest.mark.parametrize("jpeg", photographs.whole(85))
@pytest.mark.parametrize("name", ["OpenCV", "simplejpeg"])
def test_full_decoders_return_the_colours_in_the_same_order(jpeg, name):
    # A library may round otherwise; red and blue that changed places would be far more than that.
    mine, reference = decoding.DECODERS[name](jpeg), decoding.pillow(jpeg)
    assert mine.shape == reference.shape
    assert np.abs(mine.astype(int) - reference).mean() < 1


@pytest.mark.parametrize("name", decoding.REDUCED)
@pytest.mark.parametrize("side", [20, 100, 112, 213, 214, 400, 1000])
def test_reduced_decoders_never_go_below_the_side_unless_the_file_does(name, side):
    for jpeg in photographs.whole(85):
        whole = min(decoding.pillow(jpeg).shape[:2])
        edge = min(decoding.REDUCED[name](jpeg, side).shape[:2])
        assert edge >= min(side, whole)
        assert edge == whole or edge < 4 * max(side, whole // 8) + 8


@pytest.mark.parametrize("name", decoding.REDUCED)
def test_reduced_decoders_return_the_photograph_and_not_another(name):
    jpeg = photographs.whole(85)[0]
    small, reference = decoding.REDUCED[name](jpeg, 200), decoding.pillow_draft(jpeg, 200)
    assert small.shape == reference.shape
    assert np.abs(small.astype(int) - reference).mean() < 2


def test_factor_is_the_largest_that_leaves_the_side():
    assert [decoding.factor_for((640, 427), side) for side in (53, 54, 106, 107, 213, 214)] == [
        8,
        4,
        4,
        2,
        2,
        1,
    ]


def test_difference_counts_values_and_refuses_two_sizes():
    one = np.zeros((2, 2, 3), np.uint8)
    other = one.copy()
    other[0, 0, 0] = 255
    assert decoding.difference(one, other) == (1 / 12, 255)
    with pytest.raises(ValueError, match="compared"):
        decoding.difference(one, other[:1])


@pytest.mark.parametrize("decoder", [*decoding.DECODERS, *decoding.REDUCED])
def test_a_dataset_gives_tensors_of_one_size_whatever_the_decoder(decoder):
    item = decoding.Photographs(photographs.whole(85), decoder, 64)[1]
    assert item.shape == (3, 64, 64)
    assert item.dtype == torch.float32
    assert 0 <= float(item.min()) < float(item.max()) <= 1


def test_a_loader_of_workers_reads_every_image_and_ends_its_workers():
    ways = {"Pillow": decoding.Way("Pillow")}
    times = decoding.in_loader(photographs.whole(60), ways, 32, workers=1, batch=2, pairs=1)
    assert times.median("Pillow") > 0


def test_crops_lie_inside_the_image_and_are_drawn_by_their_seed():
    found = decoding.boxes((640, 427), 200, seed=3)
    assert found == decoding.boxes((640, 427), 200, seed=3)
    for top, left, height, width in found:
        assert top >= 0 <= left
        assert top + height <= 427
        assert left + width <= 640
        assert 0.07 < height * width / (640 * 427) <= 1


@pytest.mark.parametrize("name", decoding.ORDERS)
@pytest.mark.parametrize(
    "box", [(0, 0, 427, 427), (100, 200, 240, 240), (300, 500, 120, 130), (10, 10, 60, 50)]
)
def test_every_order_of_steps_shows_the_same_part_of_the_photograph(name, box):
    jpeg = photographs.whole(95)[1]
    usual, mine = (way(jpeg, box, 96) for way in (decoding.crop_then_resize, decoding.ORDERS[name]))
    assert mine.shape == (96, 96, 3)
    assert np.abs(mine.astype(int) - usual).mean() < 12


def test_a_flip_counts_only_where_both_comparisons_are_clear():
    def times(a, b):
        return Comparison({"a": [a] * 5, "b": [b] * 5})

    assert decoding.clear_flips(times(1, 2), times(2, 1)) == 1
    assert decoding.clear_flips(times(1, 2), times(1, 2)) == 0
    assert decoding.clear_flips(times(1, 2), times(1.05, 1)) == 0


def test_crops_of_photographs_are_seeded_and_of_one_size():
    assert photographs.crops(4, 48) == photographs.crops(4, 48, 85, 0)
    assert {decoding.pillow(jpeg).shape for jpeg in photographs.crops(4, 48)} == {(48, 48, 3)}


def test_processor_time_is_that_of_the_work_and_not_of_waiting():
    times = decoding.processor_time(
        {"works": lambda: sum(range(300_000)), "waits": lambda: time.sleep(0.01)}, 3
    )
    assert times.median("works") > times.median("waits")


def test_threads_of_opencv_are_what_they_were_afterwards():
    before = cv2.getNumThreads()
    found = decoding.with_threads(photographs.whole(60), 32, (1, 2), workers=1, pairs=1)
    assert set(found) == {1, 2}
    assert all(min(spent.calling, spent.all, spent.loader) > 0 for spent in found.values())
    assert cv2.getNumThreads() == before


def test_torchvision_takes_part_only_where_it_decodes(monkeypatch):
    monkeypatch.setattr(decoding, "DECODERS", dict(decoding.DECODERS))
    decodes = decoding.add_torchvision()
    assert decodes == ("torchvision" in decoding.DECODERS)
    if decodes:
        mine = decoding.DECODERS["torchvision"](photographs.whole(85)[0])
        assert np.abs(mine.astype(int) - decoding.pillow(photographs.whole(85)[0])).mean() < 1
