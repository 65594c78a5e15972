"""Rounding is what IEEE and PyTorch say: all codes, all middles, and properties for what has no type in PyTorch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from week05_fast_pipelines import number_formats as nf

SMALL = [nf.BF16, nf.FP16, nf.E5M2, nf.E4M3, nf.E2M1]
by_name = pytest.mark.parametrize("form", SMALL, ids=lambda form: form.name)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
forms = st.sampled_from(nf.FORMATS)


@by_name
def test_every_code_decodes_to_a_value_that_encodes_to_it(form):
    codes = torch.arange(2**form.bits)
    values = nf.decode(codes, form)
    some = ~values.isnan()
    assert torch.equal(nf.encode(values, form)[some], codes[some])


@pytest.mark.parametrize("form", nf.TORCH, ids=lambda form: form.name)
def test_no_bit_differs_from_pytorch_on_values_middles_and_their_neighbours(form):
    assert nf.differing(form, nf.hard_cases(form)) == 0


@pytest.mark.parametrize("form", nf.TORCH, ids=lambda form: form.name)
def test_decoded_codes_are_the_values_of_pytorchs_type(form):
    codes = torch.arange(2**form.bits)
    width = torch.uint8 if form.bits == 8 else torch.int16
    theirs = codes.to(width).view(nf.TORCH[form]).float()
    assert torch.equal(nf.decode(codes, form).nan_to_num(-1), theirs.nan_to_num(-1))


@pytest.mark.parametrize(
    ("form", "dtype"), [(f, t) for f, t in nf.TORCH.items()], ids=lambda x: getattr(x, "name", str(x))
)
def test_ranges_are_those_of_pytorchs_finfo(form, dtype):
    known = torch.finfo(dtype)
    ours = (form.largest, form.smallest_normal, form.step)
    assert ours == (known.max, known.smallest_normal, known.eps)


def test_cast_of_an_overflow_to_e4m3_is_what_one_of_our_two_rules_says():
    x = torch.tensor([465.0, -1000.0, 1e30])
    theirs = x.to(torch.float8_e4m3fn).float()
    rules = [nf.round_to(x, nf.E4M3, overflow=rule) for rule in nf.OVERFLOWS]
    assert any(torch.equal(theirs.nan_to_num(-1), rule.nan_to_num(-1)) for rule in rules)


def test_e4m3_overflows_just_above_the_number_that_the_comparison_leaves_out_from():
    x = torch.tensor(nf.E4M3_OVERFLOWS_ABOVE)
    assert nf.round_to(x, nf.E4M3) == x.to(torch.float8_e4m3fn).float() == 448
    assert nf.round_to(x.nextafter(torch.tensor(torch.inf)), nf.E4M3).isnan()


def test_the_comparison_finds_a_bit_that_differs(monkeypatch):
    monkeypatch.setitem(nf.TORCH, nf.FP16, torch.bfloat16)
    assert nf.differing(nf.FP16, torch.tensor([1.0, 0.0, -1.0])) == 2


def test_fp4_has_the_values_of_the_microscaling_standard():
    assert nf.values(nf.E2M1).tolist() == [-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_fp32_numbers_are_left_alone_subnormal_ones_too():
    x = torch.tensor([1.1, 2.0**-149, 3e-42, -3.4e38, 0.0, torch.inf])
    assert torch.equal(nf.round_to(x, nf.FP32), x)


def test_tf32_keeps_ten_bits_and_the_range_of_fp32():
    x = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, 1e38])
    assert nf.round_to(x, nf.TF32)[:2].tolist() == [1.0, 1 + 2**-9]
    assert nf.round_to(x, nf.TF32)[2].isfinite()


def test_fp16_overflows_from_the_middle_to_the_next_power_of_two_on():
    x = torch.tensor([65519.996, 65520.0, -65520.0])
    assert nf.round_to(x, nf.FP16).tolist() == [65504.0, math.inf, -math.inf]
    assert nf.round_to(x, nf.FP16, overflow="saturate").tolist() == [65504.0, 65504.0, -65504.0]


@given(floats, forms)
def test_rounding_twice_changes_nothing(x, form):
    once = nf.round_to(torch.tensor([x]), form)
    assert torch.equal(nf.round_to(once, form).nan_to_num(-1), once.nan_to_num(-1))


@given(floats, floats, forms)
def test_rounding_keeps_the_order(x, y, form):
    low, high = nf.round_to(torch.tensor(sorted([x, y])), form, overflow="saturate").tolist()
    assert low <= high


@given(floats, forms)
def test_error_is_at_most_half_a_step(x, form):
    rounded = float(nf.round_to(torch.tensor(x), form, overflow="saturate"))
    if abs(x) <= form.largest:
        step = max(abs(x) * form.step, form.smallest)
        assert abs(rounded - x) <= step / 2


@given(floats, forms, st.integers(0, 10))
def test_stochastic_rounding_ends_at_one_of_the_two_neighbours(x, form, seed):
    generator = torch.Generator().manual_seed(seed)
    rounded = nf.round_to(torch.tensor([x]), form, "stochastic", "saturate", generator)
    if abs(x) <= form.largest:
        low = nf.round_to(torch.tensor([x]), form, "zero")
        assert abs(float(rounded) - x) <= max(abs(x) * form.step, form.smallest)
        assert float(rounded) == float(low) or abs(float(rounded)) > abs(x) * (1 - 1e-12)


def test_stochastic_rounding_has_the_right_mean():
    x = torch.full((200_000,), 1 + 0.3 * 2**-7)
    rounded = nf.round_to(x, nf.BF16, "stochastic", generator=torch.Generator().manual_seed(0))
    assert set(rounded.tolist()) == {1.0, 1 + 2**-7}
    share = float((rounded > 1).double().mean())
    assert share == pytest.approx(0.3, abs=6 * math.sqrt(0.21 / 200_000))


def test_numbers_of_the_format_are_never_moved_by_stochastic_rounding():
    x = nf.values(nf.FP16)
    assert torch.equal(nf.round_to(x, nf.FP16, "stochastic"), x)


def test_a_word_that_is_no_rounding_is_refused():
    with pytest.raises(ValueError, match="not 'up'"):
        nf.round_to(torch.ones(1), nf.FP16, "up")
    with pytest.raises(ValueError, match="round them first"):
        nf.encode(torch.tensor([0.1]), nf.FP16)
    with pytest.raises(ValueError, match="between 0 and 255"):
        nf.decode(torch.tensor([256]), nf.E4M3)


# ---- blocks


def test_mxfp8_scale_is_pytorchs_e8m0_and_elements_are_its_e4m3():
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)) * 100
    scale = 2.0 ** (x.abs().amax(1, keepdim=True).log2().floor() - 8)
    assert torch.equal(scale.to(torch.float8_e8m0fnu).float(), scale)  # a power of two, nothing is lost
    theirs = (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
    assert torch.equal(nf.to_mxfp8(x), theirs)


def test_mxfp8_cuts_the_largest_numbers_unless_its_scale_is_rounded_up():
    row = torch.full((1, 32), 500.0)
    assert nf.to_mxfp8(row).max() == 448
    assert nf.to_mxfp8(row, round_up=True).max() == 512  # numbers near 500 lie at a distance of 32
    assert nf.to_mxfp8(torch.full((1, 32), 448.0)).max() == 448


def test_nvfp4_keeps_the_largest_number_and_signs():
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    rounded = nf.to_nvfp4(x)
    assert rounded.abs().max() == pytest.approx(float(x.abs().max()), rel=1e-6)
    assert (rounded * x >= 0).all()


@pytest.mark.parametrize("way", [nf.to_mxfp8, nf.to_nvfp4, lambda x: nf.to_scaled(x, nf.E4M3)])
def test_zeros_stay_zeros_in_blocks(way):
    assert torch.equal(way(torch.zeros(2, 32)), torch.zeros(2, 32))


def test_a_row_that_does_not_divide_into_blocks_is_refused():
    with pytest.raises(ValueError, match="blocks of 32"):
        nf.to_mxfp8(torch.ones(3, 33))


@given(st.lists(floats.filter(lambda x: abs(x) < 1e30), min_size=32, max_size=32))
def test_a_scale_rounded_up_keeps_every_block_within_its_range(row):
    x = torch.tensor([row])
    rounded = nf.to_mxfp8(x, round_up=True)
    peak = float(x.abs().max())
    assert float((rounded - x).abs().max()) <= peak * 2**-4 + 2.0**-126
