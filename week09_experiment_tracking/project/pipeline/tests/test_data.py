"""Data: what a split and a batch promise."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from classifier import data

quick = settings(max_examples=15, deadline=None, database=None, derandomize=True)
some_images = arrays(np.uint8, st.tuples(st.integers(1, 12), st.just(64)), elements=st.integers(0, 16))


@quick
@given(some_images, st.randoms())
def test_an_image_stays_on_its_side_whatever_else_is_in_the_data(images, random):
    whole = data.held_out(images, 0.5)
    order = list(range(len(images)))
    random.shuffle(order)
    kept = order[: len(order) // 2 + 1]
    assert (data.held_out(images[kept], 0.5) == whole[kept]).all()


def test_the_share_that_is_held_out_is_about_the_one_asked_for():
    images = np.random.default_rng(0).integers(0, 17, (2000, 64)).astype(np.uint8)
    assert abs(data.held_out(images, 0.2).mean() - 0.2) < 0.03


@quick
@given(st.integers(1, 40), st.integers(1, 12), st.randoms())
def test_batches_hold_each_index_once_and_none_is_too_long(count, size, random):
    order = np.array(random.sample(range(count), count))
    found = data.batches(count, size, order)
    assert (np.concatenate(found) == order).all()
    assert max(map(len, found)) <= size


@quick
@given(some_images)
def test_pixels_are_scaled_to_one_each_for_itself(images):
    scaled = data.scaled(images)
    assert scaled.dtype == np.float32
    assert (scaled * 16 == images).all()


def test_augmenting_keeps_images_and_labels_side_by_side():
    images, labels = np.eye(3, 64, 27, dtype=np.uint8), np.array([4, 5, 6])
    more, their_labels = data.augmented(images, labels)
    assert (more[:3] == images).all()
    assert their_labels.tolist() == [4, 5, 6] * 5
