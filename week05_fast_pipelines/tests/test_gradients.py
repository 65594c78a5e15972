"""What is recorded is the gradient, and shares and scales are those of PyTorch's own cast."""

import pytest
import torch

from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week05_fast_pipelines import gradients
from week05_fast_pipelines.number_formats import BF16, E2M1, E4M3, FP16, FP32

TINY = Config(width=16, heads=2, blocks=1, length=8)


@pytest.fixture(scope="module")
def model():
    return gradients.trained(TINY, steps=3, batch=2)


@pytest.fixture(scope="module")
def batch():
    return text_batch(7, 2, TINY.length)


def test_recorded_gradients_of_parameters_are_those_of_backward(model, batch):
    seen = gradients.record(model, *batch)
    next_token_loss(model(batch[0]), batch[1]).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    assert torch.equal(seen.parameters, expected)


def test_recording_leaves_no_hook_behind(model, batch):
    gradients.record(model, *batch)
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_of_activations_are_one_for_each_output_of_a_linear_layer_or_norm(model, batch):
    outputs = 16 * (
        16 + 3 * 16 + 16 + 16 + 4 * 16 + 16 + 16 + TINY.vocabulary
    )  # tokens, widths of the layers
    assert gradients.record(model, *batch).activations.numel() == outputs


def test_gradients_of_the_keys_biases_are_rounding_errors_beside_those_of_the_queries(model, batch):
    model.zero_grad()
    next_token_loss(model(batch[0]), batch[1]).backward()
    queries, keys, _ = model.blocks[0].attention.qkv.bias.grad.view(3, TINY.width).abs()
    model.zero_grad()
    assert keys.max() < 1e-4 * queries.max()


def test_shares_are_those_of_pytorchs_float16():
    g = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 2.0**-24
    fate = gradients.fate(g, FP16, 2.0)
    theirs = (g * 2).half()
    assert fate.vanished == float((theirs == 0).double().mean())
    assert fate.subnormal == float(((theirs != 0) & (theirs.abs() < 2.0**-14)).double().mean())
    assert fate.overflowed == 0


def test_gradients_that_are_all_zero_are_refused():
    with pytest.raises(ValueError, match="all gradients are zero"):
        gradients.fate(torch.zeros(3), FP16)


def test_smallest_scale_saves_the_smallest_gradient():
    g = torch.tensor([2.0**-30, 1.0])
    k = gradients.smallest_scale(g, FP16, 0.0)
    assert (g * 2.0**k).half().ne(0).all()
    assert (g * 2.0 ** (k - 1)).half().eq(0).any()
    with pytest.raises(ValueError, match="even at"):
        gradients.smallest_scale(torch.tensor([2.0**-100]), FP16, 0.0)


def test_first_overflow_is_the_first():
    g = torch.tensor([3.0, -0.1])
    k = gradients.first_overflow(g, FP16)
    assert (g * 2.0**k).half().isinf().any()
    assert (g * 2.0 ** (k - 1)).half().isfinite().all()
    with pytest.raises(ValueError, match="nothing overflows"):
        gradients.first_overflow(g, E2M1)


def test_rounding_to_fp32_gives_the_exact_gradient_at_any_scale(model, batch):
    exact = gradients.rounded_gradient(model, *batch, FP32, 1.0)
    scaled = gradients.rounded_gradient(model, *batch, FP32, 2.0**10)
    assert torch.allclose(exact, scaled, rtol=1e-5, atol=1e-12)


def test_error_by_scale_is_infinite_after_an_overflow_and_small_in_the_window(model, batch):
    errors = gradients.errors_by_scale(model, *batch, [FP16, BF16, E4M3], [-20, 8, 40])
    assert errors["fp16"][2] == float("inf")
    assert errors["fp16"][1] < errors["bf16"][1] < 0.01
    assert errors["fp8 e4m3"][0] == 1.0


def test_continuing_without_rounding_goes_the_whole_way(model):
    runs = gradients.continue_rounded(model, BF16, lr=1e-4, steps=3, batch=2)
    assert runs["fp32"].way == pytest.approx(1, abs=1e-6)
    assert runs["nearest"].moved < runs["stochastic"].moved <= runs["fp32"].moved


def test_the_model_that_is_continued_is_left_as_it_was():
    start = Transformer(TINY)
    before = [p.detach().clone() for p in start.parameters()]
    gradients.continue_rounded(start, BF16, lr=1e-3, steps=1, batch=2)
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters(), strict=True))
