"""What the seminar's modules must hold to: exact integers, files that give back what they got, fair comparisons."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from week08_compress_models import fragile, gptq, int8_products, methods, running, storage, students, transfer
from week08_compress_models import language_model as lm
from week08_compress_models.grids import Grid, round_trip


@given(st.integers(1, 8), st.lists(st.integers(0, 255), min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_unpack_gives_back_what_was_packed_in_as_few_bytes_as_the_bits_need(bits, numbers):
    codes = torch.tensor(numbers) % 2**bits
    packed = storage.pack(codes, bits)
    assert len(packed) == -(-len(numbers) * bits // 8)
    assert torch.equal(storage.unpack(packed, bits, len(numbers)), codes)


@given(st.sampled_from([3, 4, 8]), st.sampled_from([8, 16, "channel"]), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_a_weight_on_a_grid_is_recovered_exactly(bits, share, seed):
    grid = Grid(bits, share)
    weight = torch.randn(6, 48, generator=torch.Generator().manual_seed(seed)) * 0.1
    rounded = round_trip(weight, grid)
    assert torch.equal(storage.on_grid(weight, grid).weight(), rounded)
    torch.testing.assert_close(storage.recovered(rounded, grid).weight(), rounded, rtol=1e-3, atol=1e-7)


def test_a_weight_off_the_grid_is_refused():
    with pytest.raises(ValueError, match="no grid of 3 bits"):
        storage.recovered(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), Grid(3, 16))


def test_gptq_survives_the_file():
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(8, 64, generator=generator), torch.randn(200, 64, generator=generator)
    rounded = gptq.gptq(weight, x.T @ x / 200, Grid(4, 32))
    torch.testing.assert_close(
        storage.recovered(rounded, Grid(4, 32)).weight(), rounded, rtol=1e-3, atol=1e-6
    )


@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 20))
@example(1, 1, 2)
@settings(deadline=None, max_examples=30)
def test_the_int8_product_is_exact_with_the_weights_that_this_machine_allows(k, rows, columns):
    generator = torch.Generator().manual_seed(k)
    most = int8_products.largest_here()
    a = torch.randint(-127, 128, (rows, k), dtype=torch.int8, generator=generator)
    b = torch.randint(-most, most + 1, (columns, k), dtype=torch.int8, generator=generator)
    assert torch.equal(int8_products.by_integers(a, b).long(), int8_products.exact(a, b))


def test_float_sums_are_exact_up_to_the_length_that_is_said_and_not_far_beyond():
    a = torch.full((2, int8_products.MOST_EXACT), 127, dtype=torch.int8)
    assert torch.equal(int8_products.by_floats(a, a).long(), int8_products.exact(a, a))
    assert 127**2 * (int8_products.MOST_EXACT + 1) > 2**24
    assert int8_products.MOST_INT32 * 127**2 < 2**31 <= (int8_products.MOST_INT32 + 1) * 127**2


def test_a_row_of_zeros_stays_zero():
    x = torch.zeros(2, 8)
    form = storage.on_grid(torch.ones(3, 8), methods.EIGHT)
    assert torch.equal(int8_products.linear(x, form.codes, form.steps), torch.zeros(2, 3))


@pytest.mark.skipif(int8_products.triton is None, reason=f"needs {int8_products.NEEDS_TRITON}")
@pytest.mark.parametrize(("rows", "columns", "k"), [(1, 1, 1), (33, 65, 31), (64, 32, 1100)])
def test_the_triton_kernel_equals_the_integers_in_every_entry(rows, columns, k):
    generator = torch.Generator().manual_seed(k)
    a = torch.randint(90, 128, (rows, k), dtype=torch.int8, generator=generator)
    b = torch.randint(90, 128, (columns, k), dtype=torch.int8, generator=generator)
    assert torch.equal(int8_products.by_triton(a, b).long(), int8_products.exact(a, b))


@pytest.mark.skipif(int8_products.triton is None, reason=f"needs {int8_products.NEEDS_TRITON}")
def test_the_kernel_compiles_to_integer_tile_products_without_a_gpu():
    (name,) = int8_products.compiled(80).tile_products
    assert name.endswith("s32.s8.s8.s32")


@pytest.mark.parametrize("path", ["int8 weights", "int4 weights", "W8A8", "low rank"])
def test_every_path_computes_what_its_stored_form_says(path):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 128, generator=generator)
    x = torch.randn(5, 128, generator=generator)
    made = {
        "int8 weights": (running.WeightsOfEight, storage.on_grid(weight, methods.EIGHT)),
        "int4 weights": (running.WeightsOfFour, storage.on_grid(weight, methods.FOUR)),
        "W8A8": (
            running.EightByEight,
            storage.on_grid(weight, methods.EIGHT, int8_products.largest_here()),
        ),
        "low rank": (running.Thin, methods.half_of_the_rank(weight)),
    }
    kind, form = made[path]
    given_ = x if path in ("W8A8", "low rank") else x.bfloat16()
    found, wanted = kind(form)(given_).float(), x @ form.weight().t()
    assert float((found - wanted).norm() / wanted.norm()) < 0.02


def test_the_paired_interval_is_narrower_than_the_windows_vary():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(40, generator=generator).double()
    second = first + 0.01 + 0.001 * torch.randn(40, generator=generator).double()
    mean, low, high = methods.paired_interval(first, second)
    assert low < mean < high
    assert low > 0.009
    assert high < 0.011


def test_two_students_of_a_seed_begin_alike_and_see_the_same_batches():
    one, other = (lm.LanguageModel(students.STUDENT, seed=100) for _ in range(2))
    curve = students.train(one, 2, 0, batch=2, length=32)
    again = students.train(other, 2, 0, lm.load(0), students.distillation_loss, batch=2, length=32)
    assert curve[0] == pytest.approx(again[0], abs=1e-3)
    assert curve[1] != again[1]


def test_a_student_at_temperature_one_and_no_share_learns_from_the_text_alone():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 256, generator=generator)
    targets = torch.arange(6)
    assert students.distillation_loss(student, teacher, targets, 1.0, 0.0) == pytest.approx(
        float(students.alone(student, teacher, targets))
    )
    assert students.distillation_loss(student, student, targets, 3.0, 1.0) == pytest.approx(0, abs=1e-6)


def test_no_docstring_lies_on_both_sides_of_the_split():
    train, test = transfer.split()
    starts = [{bytes(row[:60].tolist()) for row in part.tokens} for part in (train, test)]
    assert len(starts[0] & starts[1]) < 5  # pieces may begin alike; whole docstrings would share dozens
    assert set(train.labels.tolist()) == set(test.labels.tolist()) == set(range(8))


def test_smaller_samples_lie_in_the_larger_and_hold_as_many_of_each_package():
    most = transfer.labelled(256, 0)
    for size in transfer.SIZES:
        labels = most.labels[most.first(size)]
        assert torch.bincount(labels).tolist() == [size // 8] * 8


def test_rounding_hides_the_gradient_and_straight_through_shows_it():
    _, _, images, labels = fragile.digits()
    blind = fragile.rounded(fragile.trained(0), 8, straight=False)
    assert torch.equal(fragile.fgsm(blind, images, labels, 0.1), images)
    seen = fragile.rounded(fragile.trained(0), 8)
    assert not torch.equal(fragile.fgsm(seen, images, labels, 0.1), images)


def test_pruning_keeps_a_tenth_and_noise_leaves_the_zeros():
    net = fragile.pruned(fragile.trained(0), 0.1, 0)
    weights = [p for p in net.parameters() if p.dim() == 2]
    assert all(abs(float((w != 0).float().mean()) - 0.1) < 0.01 for w in weights)
    shaken = fragile.shaken(net, 0.3, 0)
    assert np.array_equal((shaken[0].weight == 0).numpy(), (net[0].weight == 0).numpy())
