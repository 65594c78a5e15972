"""Lecture 1: grids, GPTQ, outliers, caches and routes do what the page says of them; its exercises work."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from effdl.bench import Comparison
from effdl.exercises import exercises
from week08_compress_models import decode_gpu, gptq, grids, int8_speed, kv_cache, outliers, trials
from week08_compress_models import language_model as lm
from week08_compress_models.figures import fewer_bits as figures
from week08_compress_models.grids import Grid, compress, nearest, round_trip

FOUND = exercises(Path(__file__).resolve().parent.parent / "lecture.md")
SMALL = lm.Config(width=64, blocks=2, heads=2, kv_heads=1, hidden=64)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small():
    return lm.LanguageModel(SMALL).eval()


@pytest.fixture
def tokens():
    return torch.randint(256, (4, 48), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("exercise", [pytest.param(e, id=e.title) for e in FOUND])
def test_printed_solution_passes_its_check_and_the_stub_does_not(exercise):
    names = {"trials": trials, "torch": torch}
    assert not exercise.verdict(names, solved=False)
    assert exercise.verdict(names, solved=True)


def test_no_exercise_was_overlooked():
    assert [exercise.title[0] for exercise in FOUND] == list("ABC")


@settings(max_examples=40, deadline=None)
@given(
    bits=st.integers(2, 8),
    share=st.sampled_from(["tensor", "channel", 4, 8]),
    symmetric=st.booleans(),
    seed=st.integers(0, 999),
    size=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
)
def test_no_number_moves_by_more_than_half_a_level(bits, share, symmetric, seed, size):
    x = size * torch.randn(3, 16, generator=torch.Generator().manual_seed(seed))
    grid = Grid(bits, share, symmetric)
    blocks = x.reshape(-1, grid.members(x.shape))
    scale, zero = grids.fit(blocks, grid)
    rounded = round_trip(x, grid).view_as(blocks)
    # A scale is stored in float16 (11 bits), so that the outermost number may lie outside by that share; the zero is
    # rounded as well, which moves an affine grid by up to half a level.
    room = scale * (0.5 if symmetric else 1.0) + blocks.abs().amax() * 2**-10 + 1e-6
    assert ((rounded - blocks).abs() <= room).all()
    codes = grids.encode(blocks, scale, zero, grid)
    assert codes.min() >= grid.levels[0]
    assert codes.max() <= grid.levels[1]
    assert len(codes[0].unique()) <= 2**bits


def test_zero_stays_exactly_zero_on_an_affine_grid():
    x = torch.tensor([[0.0, 5.0, 5.5, 6.0], [-3.0, 0.0, -1.0, -2.0]])
    assert (round_trip(x, Grid(4, "channel", symmetric=False))[x == 0] == 0).all()


def test_bits_are_those_of_codes_scales_and_zeros():
    shape = (10, 64)
    assert Grid(4, 32).bits_per_number(shape) == (10 * 64 * 4 + 20 * 16) / 640
    assert Grid(4, 32, symmetric=False).bits_per_number(shape) == (10 * 64 * 4 + 20 * (16 + 4)) / 640
    assert Grid(8, "tensor").bits_per_number(shape) == (10 * 64 * 8 + 16) / 640


@pytest.mark.parametrize("share", ["row", 0, -4])
def test_an_unknown_share_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        Grid(4, share)


def test_rounded_layer_equals_a_product_of_integers():
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(24, 32, generator=generator), torch.randn(5, 32, generator=generator)
    grid = Grid(8)
    (w_scale, _), (x_scale, _) = grids.fit(weight, grid), grids.fit(x, grid)
    codes = [
        grids.encode(m, s, torch.zeros_like(s), grid).long() for m, s in ((weight, w_scale), (x, x_scale))
    ]
    exact = (codes[1] @ codes[0].T).double() * x_scale.double() * w_scale.double().T
    layer = grids.QuantisedLinear(round_trip(weight, grid), nearest(grid))
    torch.testing.assert_close(layer(x).double(), exact, rtol=1e-5, atol=1e-5)


def test_the_straight_through_gradient_is_that_of_no_rounding():
    weight = torch.randn(4, 8, requires_grad=True)
    (grids.StraightThrough.apply(weight, Grid(3)) * torch.arange(8.0)).sum().backward()
    assert torch.equal(weight.grad, torch.arange(8.0).expand(4, 8))


def test_training_with_rounding_leaves_weights_on_the_grid():
    model = trials.fine_tune(lm.LanguageModel(SMALL), 2, Grid(3))
    for layer in lm.linears(model).values():
        assert all(len(row.unique()) <= 7 for row in layer.weight.detach())


@pytest.mark.parametrize("grid", [Grid(3), Grid(4, 8), Grid(2, 8, symmetric=False)])
def test_gptq_rounds_to_the_grid_and_beats_nearest_where_inputs_are_correlated(grid):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(512, 6, generator=generator) @ torch.randn(6, 16, generator=generator)
    hessian, weight = x.T @ x / len(x), torch.randn(8, 16, generator=generator)
    rounded = gptq.gptq(weight, hessian, grid)
    assert all(len(group.unique()) <= 2**grid.bits for group in rounded.view(-1, grid.members(weight.shape)))
    before = gptq.output_error(weight, round_trip(weight, grid), hessian)
    assert gptq.output_error(weight, rounded, hessian) < before
    direct = ((x @ (rounded - weight).T).square().sum() / (x @ weight.T).square().sum()).item()
    assert gptq.output_error(weight, rounded, hessian) == pytest.approx(direct, rel=1e-4)


def test_gptq_is_rounding_to_nearest_where_inputs_are_independent():
    weight = torch.randn(8, 16)
    assert torch.equal(
        gptq.gptq(weight, torch.eye(16), Grid(4)), round_trip(weight.double(), Grid(4)).float()
    )


def test_gptq_refuses_one_scale_for_the_tensor():
    with pytest.raises(ValueError, match="columns"):
        gptq.gptq(torch.randn(4, 4), torch.eye(4), Grid(4, "tensor"))


def test_hessians_are_the_mean_of_outer_products(small, tokens):
    layer, seen = small.blocks[0].attention.query, []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with gptq.Hessians({"q": layer}) as found:
        small(tokens[:2]), small(tokens[2:])
    handle.remove()
    rows = torch.cat([x.flatten(0, 1) for x in seen])
    torch.testing.assert_close(found["q"], rows.T @ rows / len(rows))


def test_compressing_by_gptq_leaves_the_model_alone_and_reports_every_layer(small, tokens):
    before = {name: value.clone() for name, value in small.state_dict().items()}
    made, errors = gptq.compress_by_gptq(small, tokens, Grid(3))
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert [name for name, _, _ in errors] == list(lm.linears(small))
    assert not torch.equal(made(tokens), small(tokens))


@pytest.mark.parametrize("change", ["plant", "smooth", "rotate"])
def test_the_function_of_the_model_stays(small, tokens, change):
    model = outliers.plant(small, 100) if change == "plant" else small
    if change == "smooth":
        model = outliers.smooth(outliers.plant(small, 100), tokens)
    if change == "rotate":
        model = outliers.rotate(outliers.plant(small, 100), lambda w: w, lambda x: x)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), small(tokens), rtol=1e-3, atol=1e-3)


def test_planted_channels_are_large_and_smoothing_evens_them(small, tokens):
    planted, layer = outliers.plant(small, 100), "blocks.1.mlp.gate"
    sizes = outliers.largest_inputs(planted, tokens, layer)
    assert (sizes > 20 * sizes.median()).sum() == 2
    even = outliers.largest_inputs(outliers.smooth(planted, tokens), tokens, layer)
    assert even.max() < 5 * even.median()


@pytest.mark.parametrize("size", [1, 2, 64])
def test_hadamard_is_orthogonal(size):
    turn = outliers.hadamard(size)
    torch.testing.assert_close(turn @ turn.T, torch.eye(size))
    assert len(turn.abs().unique()) == 1


def test_hadamard_refuses_what_is_no_power_of_two():
    with pytest.raises(ValueError, match="power of two"):
        outliers.hadamard(12)


@pytest.mark.parametrize("keys", ["token", "channel"])
def test_a_rounded_cache_gives_the_same_in_one_pass_and_token_by_token(small, keys):
    tokens = torch.randint(256, (2, 40))
    one, many = (kv_cache.QuantisedCache(4, keys) for _ in range(2))
    with torch.no_grad():
        small(tokens, one)
        for token in tokens.T:
            last = small(token[:, None], many)
    assert len(one) == len(many) == 40
    assert last.shape == (2, 1, 256)
    # What the first block reads depends on no rounding before it.
    nothing = torch.zeros(2, 1, 0, 32)
    for whole, piecewise in zip(*(cache.append(0, nothing, nothing) for cache in (one, many)), strict=True):
        # Keys that are computed for one token or for forty differ in their last bits, and so may a scale.
        torch.testing.assert_close(whole, piecewise, rtol=2e-3, atol=2e-3)


def test_a_cache_of_8_bits_hardly_changes_the_loss_and_one_of_2_bits_does():
    model, windows = lm.load(0), lm.validation(4)
    base = lm.bits_per_byte(model, windows)
    exact = kv_cache.bits_per_byte(model, windows, lm.Cache)
    assert exact == pytest.approx(base, abs=1e-5)
    eight, two = (
        kv_cache.bits_per_byte(model, windows, lambda bits=bits: kv_cache.QuantisedCache(bits))
        for bits in (8, 2)
    )
    assert abs(eight - base) < 0.01 < two - base


def test_an_8_billion_model_has_the_published_size():
    assert pytest.approx(7.5e9, rel=0.01) == kv_cache.WEIGHTS_8B
    assert kv_cache.bytes_per_token(16, 16, 1000, 1) == (2 * kv_cache.WEIGHTS_8B, 131_072_000)


def test_every_route_computes_the_layer_to_the_rounding_of_its_bits():
    pytest.importorskip("torchao")
    pytest.importorskip("onnxruntime")
    found = int8_speed.routes(16, 64, 128)
    exact = found["float32"]()
    # Where no instruction multiplies int8 (VNNI), ONNX Runtime adds pairs of products in 16 bits, and some overflow.
    rooms = {} if torch.cpu._is_vnni_supported() else {"int8 both, ONNX Runtime": 0.1}
    for name, run in found.items():
        error = ((run() - exact).norm() / exact.norm()).item()
        assert error < rooms.get(name, 1e-5 if "float32" in name else 0.02), name


def test_fused_kernels_compute_the_layer_to_the_rounding_of_their_bits():
    found = int8_speed.fused(16, 64, 128)
    exact = found["float32"]()
    rooms = {"float32": 1e-6, "bfloat16": 0.01, "int8 weights": 0.02, "int4 weights": 0.12}
    for name, run in found.items():
        assert ((run().float() - exact).norm() / exact.norm()).item() < rooms[name], name


def test_the_steps_of_decoding_run_on_this_device():
    found = decode_gpu.steps(pairs=1)
    assert set(found) == {(route, batch) for route in decode_gpu.ROUTES for batch in decode_gpu.BATCHES}
    for batch in decode_gpu.BATCHES:
        sizes = [found[route, batch].nbytes for route in decode_gpu.ROUTES]
        assert sizes == sorted(sizes, reverse=True)


def test_int8_weights_with_the_scale_taken_out_of_the_sum_are_those_written_out():
    weight, x = torch.randn(24, 32), torch.randn(3, 32)
    codes, scale = int8_speed.rounded(weight)
    found = decode_gpu._widen(x, codes, scale.flatten())
    torch.testing.assert_close(found, int8_speed.dequantise_then_multiply(x, codes, scale))


def test_torchao_rounds_as_we_do_but_for_the_level_we_give_away():
    pytest.importorskip("torchao")
    model = lm.load("draft")
    theirs = trials.by_torchao(
        lm.LanguageModel(lm.Config(width=64, blocks=1, heads=2, kv_heads=1, hidden=64)), 32
    )
    weight = next(iter(lm.linears(theirs).values())).weight.dequantize()
    assert all(len(group.unique()) <= 16 for group in weight.reshape(-1, 32))
    assert compress(model, nearest(Grid(4, 16))).config == model.config


def test_figures_draw_what_they_are_given():
    times = {n: Comparison({"a": [0.1 * n] * 3, "b": [0.2] * 3}) for n in (1, 4)}
    names = [f"blocks.{b}.{kind}" for b in range(4) for kind in ("query", "up")]
    made = [
        figures.loss_by_bits({"a": [(4.1, 0.1), (8.1, 0.001)], "b": [(3.1, 0.5)]}),
        figures.layer_errors([(name, 0.2, 0.1) for name in names]),
        figures.channels({"a": torch.rand(16) + 0.1, "b": torch.rand(16) + 0.1}),
        figures.by_rows(times, ["a"], "b"),
        figures.bytes_by_context((512, 2048), {"a": [1e9, 2e9]}),
    ]
    assert all(figure.axes for figure in made)
    plt.close("all")


def test_windows_are_judged_alike_in_any_batch():
    model, windows = lm.load("draft"), lm.validation(6)
    assert lm.bits_per_byte(model, windows, batch=2) == pytest.approx(
        lm.bits_per_byte(model, windows), abs=1e-5
    )
    with torch.no_grad():
        direct = F.cross_entropy(model(windows[:, :-1]).transpose(1, 2), windows[:, 1:]).item()
    assert lm.bits_per_byte(model, windows) == pytest.approx(direct / 0.693147, rel=1e-4)
