"""Our scale follows torch.amp's rule, steps that overflow change nothing, and each mistake is one."""

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from week05_fast_pipelines import loss_scaling as ls

SGD = functools.partial(torch.optim.SGD, lr=0.5)


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 5))
def test_scales_are_those_of_torch_amp_for_any_sequence_of_overflows(finite, interval):
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=interval)
    scale = ls.Scale(2.0**10, interval=interval)
    for good in finite:
        loss = (weight * (1.0 if good else torch.inf)).sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scale = scale.after(good)
        assert scaler.get_scale() == scale.value


def small():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, torch.optim.Adam(model.parameters(), lr=0.1)


def test_a_step_that_overflows_changes_neither_weights_nor_moments():
    model, optimizer = small()
    scale = ls.scaled_step(model(torch.ones(1, 3)).sum(), optimizer, ls.Scale(8.0))
    weights = [p.detach().clone() for p in model.parameters()]
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    after = ls.scaled_step(model(torch.full((1, 3), torch.inf)).sum(), optimizer, scale)
    assert after.value == 4.0
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(torch.equal(a, s["exp_avg"]) for a, s in zip(moments, optimizer.state.values(), strict=True))


def test_one_nan_in_the_second_group_of_parameters_leaves_the_step_out():
    first, second = (nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": [second]}], lr=1.0)
    ls.scaled_step((first + second * torch.nan).sum(), optimizer, ls.Scale(2.0))
    assert first.item() == second.item() == 1.0


def test_parameters_without_a_gradient_do_not_stop_the_step():
    used, unused = (nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = torch.optim.SGD([used, unused], lr=1.0)
    ls.scaled_step(used.sum(), optimizer, ls.Scale(4.0))
    assert (used.item(), unused.item()) == (0.0, 1.0)


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_clipping_sees_gradients_without_the_scale(scale):
    model, _ = small()
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    ls.scaled_step(model(torch.full((1, 3), 100.0)).sum(), optimizer, ls.Scale(scale), clip=0.5)
    moved = torch.cat([(a - b).flatten() for a, b in zip(start, model.parameters(), strict=True)])
    assert float(moved.detach().norm()) == pytest.approx(0.5, rel=1e-5)


def test_our_steps_end_with_the_weights_of_grad_scaler_bit_by_bit():
    scale = ls.Scale(2.0**24, interval=5)
    runs = [train(torch.float16, 15, scale, ls.adam) for train in (ls.ours, ls.theirs)]
    assert runs[0].scales == runs[1].scales
    assert runs[0].skipped == runs[1].skipped > 0
    pairs = zip(*(run.model.parameters() for run in runs), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_our_clipping_ends_with_the_loss_of_grad_scalers():
    runs = [train(torch.float16, 10, ls.Scale(), SGD, 1.0) for train in (ls.ours, ls.theirs)]
    assert runs[0].loss == pytest.approx(runs[1].loss, rel=1e-2)


# ---- mistakes


def test_each_mistake_is_reproduced_and_cured():
    found = {mistake.name: mistake for mistake in ls.mistakes(20)}
    assert found["all in float16, Adam"].wrong == "loss nan"
    assert "nan" not in found["all in float16, Adam"].cured + found["all in float16, Adam"].cure
    assert [m.name for m in found.values() if not m.silent] == ["all in float16, Adam"]
    assert found["your own norm in float16"].cured == "1"
    assert found["sum the losses in bfloat16"].wrong.endswith("256")
    assert found["sum the losses in bfloat16"].cured == "1000"


def test_clipping_scaled_gradients_hardly_trains():
    wrong, right = (ls.theirs(torch.float16, 30, ls.Scale(), SGD, 1.0, first) for first in (False, True))
    start = ls.theirs(torch.float16, 0, ls.Scale()).loss
    assert start - wrong.loss < (start - right.loss) / 50


def test_adam_hides_only_a_part_of_clipping_scaled_gradients():
    wrong, right = (ls.theirs(torch.float16, 30, ls.Scale(), ls.adam, 1.0, first) for first in (False, True))
    start = ls.theirs(torch.float16, 0, ls.Scale()).loss
    assert right.loss + 0.1 < wrong.loss < start - 0.1


def test_backward_inside_of_autocast_loses_most_digits_of_a_float32_gradient():
    assert ls.error_of_backward(True) > 1e-4 > 1e-5 > ls.error_of_backward(False)


def test_small_updates_of_float16_weights_vanish():
    assert ls.unmoved(torch.float16, 5, 1e-4) > 0.9
    assert ls.unmoved(torch.float32, 5, 1e-4) < 0.3


@given(st.floats(1e-3, 200), st.integers(1, 64))
def test_widened_norm_gives_rows_of_mean_square_one(size, width):
    x = torch.full((1, width), size, dtype=torch.float16)
    assert float(ls.rms_norm(x, True).float().square().mean()) == pytest.approx(1, rel=4e-3)
