"""Formula, hooks and counter agree; bytes are those of the tensors; MFU's pieces are right."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from effdl.transformer import Config, Transformer, text_batch
from week05_fast_pipelines import training_arithmetic as ta

sizes = st.builds(
    Config,
    width=st.sampled_from([8, 16, 24]),
    heads=st.sampled_from([1, 2, 4]),
    blocks=st.integers(1, 3),
    length=st.integers(2, 12),
)


@settings(max_examples=15, deadline=None)
@given(sizes, st.integers(1, 3))
def test_formula_hooks_and_counter_agree_to_the_operation(config, batch):
    model = Transformer(config)
    tokens, targets = text_batch(0, batch, config.length)
    forward = ta.by_formula(config, batch, config.length)
    assert ta.by_hooks(model, tokens) == forward
    assert ta.by_counter(lambda: model(tokens)) == forward
    assert ta.by_counter(lambda: ta.forward_backward(model, tokens, targets)) == 3 * forward


def test_counting_without_memory_is_counting():
    config = Config(width=16, heads=2, blocks=2, length=8)
    count, parameters = ta.counted_without_memory(config, batch=2)
    assert count == 3 * ta.by_formula(config, 2, 8)
    assert parameters == sum(p.numel() for p in Transformer(config).parameters())


def test_checkpointing_repeats_blocks_but_for_their_last_product():
    config = Config(width=16, heads=2, blocks=2, length=8)
    model, (tokens, targets) = Transformer(config), text_batch(0, 2, 8)
    plain, again = (
        ta.by_counter(lambda c=c: ta.forward_backward(model, tokens, targets, c)) for c in (False, True)
    )
    tokens_in_all, w = 16, config.width
    assert again - plain == tokens_in_all * config.blocks * (16 * w * w + 4 * 8 * w)


def test_checkpointed_gradients_are_the_same():
    config = Config(width=16, heads=2, blocks=1, length=8)
    found = []
    for checkpointed in (False, True):
        model = Transformer(config)
        ta.forward_backward(model, *text_batch(0, 2, 8), checkpointed)
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*found)


def test_half_precision_multiplies_in_half_precision_and_keeps_float32_gradients():
    model = Transformer(Config(width=16, heads=2, blocks=1, length=8))
    seen = []
    model.blocks[0].mlp.up.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    ta.forward_backward(model, *text_batch(0, 2, 8), half=torch.bfloat16)
    assert seen == [torch.bfloat16]
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


# ---- bytes


def moved(run):
    return ta.traffic(run).total


def test_traffic_counts_what_is_read_and_written():
    x, y = torch.ones(1000), torch.ones(1000)
    assert moved(lambda: x + y) == 12_000
    assert moved(lambda: x.add_(y)) == 12_000
    assert moved(lambda: x.sum()) == 4_004
    assert moved(lambda: x.double()) == 12_000


def test_views_and_fresh_memory_move_nothing():
    x = torch.ones(10, 100)
    assert moved(lambda: x.T[2:].view(-1, 10).unsqueeze(0)) == 0
    assert moved(lambda: torch.empty(1000)) == 0


def test_a_repeated_row_counts_once():
    row, x = torch.ones(1, 1000), torch.ones(10, 1000)
    assert moved(lambda: x + row.expand(10, 1000)) == 40_000 + 4_000 + 40_000


def test_backward_is_counted():
    x = torch.ones(1000, requires_grad=True)
    assert set(ta.traffic(lambda: (x * x).sum().backward()).by_name) >= {"aten::mul", "aten::sum"}


@pytest.mark.parametrize(("options", "expected"), [({"fused": True}, 32), ({"foreach": False}, 84)])
def test_bytes_of_adam_for_each_parameter(options, expected):
    found = ta.optimizer_traffic(torch.nn.Linear(100, 100, bias=False), **options)
    assert found == pytest.approx(expected, abs=0.1)
    assert ta.adam_bytes(1) == 28


# ---- rows until arithmetic is the limit


@given(st.floats(1, 1000), st.sampled_from([1, 2, 4]), st.integers(64, 8192), st.integers(64, 8192))
def test_at_the_rows_found_computing_takes_as_long_as_moving(ridge, nbytes, k, n):
    m = ta.rows_to_compute(ridge, nbytes, k, n)
    if math.isfinite(m):
        assert 2 * m * k * n == pytest.approx(ridge * nbytes * (m * k + k * n + m * n), rel=1e-6)
    else:
        assert 2 * k * n <= ridge * nbytes * (k + n) * (1 + 1e-9)


def test_wide_layers_need_the_rows_that_week_1_derived():
    assert ta.rows_to_compute(295, 2) == 295
    assert {
        round(ta.rows_to_compute(flops / ta.H100.bandwidth, ta.BYTES[name]))
        for name, flops in ta.H100.flops.items()
    } == {40, 295, 296}
