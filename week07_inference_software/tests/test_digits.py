"""The network's contract: pre-processing, its files, and that other frameworks' files say the same."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from week07_inference_software import digits

COUNTS = arrays.arrays(np.float32, (8, 8), elements=st.integers(0, 16).map(float))


def bitmap_of(image):
    """A bitmap (32, 32) whose `blocks` are the image (8, 8) of numbers from 0 to 16: each square fills up."""
    rank = np.arange(16).reshape(4, 4)
    return (image[:, None, :, None] > rank[None, :, None, :]).reshape(32, 32)


@settings(max_examples=50, deadline=None)
@given(COUNTS)
def test_a_bitmap_of_a_picture_is_prepared_to_that_picture(counts):
    np.testing.assert_array_equal(digits.blocks(bitmap_of(counts))[0, 0] * 16, counts)


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.bool_, (20, 14)), st.integers(0, 9), st.integers(0, 9))
def test_where_in_the_field_a_digit_is_drawn_does_not_matter(ink, x, y):
    def placed(left, top):
        rgba = np.zeros((40, 40, 4), np.uint8)
        rgba[top : top + 20, left : left + 14, 3] = 255 * ink
        return digits.prepare(rgba)

    # An even shift keeps the rounding of the square's corner.
    np.testing.assert_array_equal(placed(2 + 2 * x // 2 * 2, 2 * (y // 2)), placed(2, 0))


def test_a_drawing_without_ink_gives_zeros():
    assert not digits.prepare(np.full((9, 9, 4), 127, np.uint8)).any()


def test_training_leaves_threads_and_random_numbers_as_they_were():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    digits.trained.__wrapped__(epochs=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_the_network_reads_nine_of_ten_pictures_of_new_writers():
    images, labels = digits.test_set()
    assert (digits.answers(digits.trained(), images).argmax(axis=1) == labels).mean() > 0.88


def test_the_onnx_file_answers_as_pytorch_does_at_every_batch_and_says_the_batch():
    onnxruntime = pytest.importorskip("onnxruntime")
    model, images = digits.trained(), digits.test_set()[0]
    session = onnxruntime.InferenceSession(digits.onnx_bytes(model), providers=["CPUExecutionProvider"])
    for size in (1, 2, 17):
        scores, rows = session.run(["scores", "rows"], {"image": images[:size]})
        np.testing.assert_allclose(scores, digits.answers(model, images[:size]), rtol=0, atol=1e-4)
        np.testing.assert_array_equal(rows, np.full((size, 1), size))


def test_the_tfjs_manifest_says_where_each_number_of_the_file_belongs(tmp_path):
    weights = {name: value.numpy() for name, value in digits.trained().state_dict().items()}
    named = digits.tfjs_weights(weights)
    digits.write_tfjs(tmp_path, named)
    model = json.loads((tmp_path / "model.json").read_text())
    numbers = np.fromfile(tmp_path / "weights.bin", "<f4")
    place = 0
    for entry in model["weightsManifest"][0]["weights"]:
        count = int(np.prod(entry["shape"]))
        read = numbers[place : place + count].reshape(entry["shape"])
        np.testing.assert_array_equal(read, named[entry["name"]])
        place += count
    assert place == len(numbers) == sum(value.size for value in weights.values())
