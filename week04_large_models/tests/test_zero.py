"""ZeRO's stages: bytes, traffic, and the same weights as plain data parallelism and as one process."""

import functools
import sys

import pytest
import torch

from effdl import launch
from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models import calculator, zero

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the bytes of a socket")

CONFIG = Config(width=48, blocks=2, length=16, vocabulary=129)  # sizes that do not divide by the ranks
STEPS, BATCH = 2, 9


def in_double_on_rank(*arguments):
    torch.set_default_dtype(torch.float64)
    return zero.stages_on_rank(*arguments)


@functools.cache
def by_rank(ranks):
    """What the ranks found, in float64: Adam makes steps of a gradient that is zero but for its rounding."""
    return launch.run(in_double_on_rank, ranks=ranks, args=(CONFIG, BATCH, STEPS))


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def one_process():
    """All weights after the same steps, by autograd on the whole model, module after module."""
    model = Transformer(CONFIG)
    adam = calculator.Adam(list(model.parameters()))
    for step in range(STEPS):
        tokens, targets = text_batch(step, BATCH, CONFIG.length)
        next_token_loss(model(tokens), targets).backward()
        adam.step()
        for parameter in model.parameters():
            parameter.grad = None
    return [
        torch.cat([p.detach().flatten() for m in module.modules() for p in m.parameters(recurse=False)])
        for module in model.chain
    ]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("stage", zero.STAGES)
def test_every_stage_trains_as_one_process(stage, ranks):
    for found in by_rank(ranks):
        weights, place = found[stage][3], 0
        for module in one_process():
            # A gradient's rounding of some 1e-17, over Adam's 1e-8, times its rate of 1e-3: 1e-12 a step.
            torch.testing.assert_close(weights[place : place + len(module)], module, atol=1e-11, rtol=0)
            place += len(module) + -len(module) % ranks
        assert place == len(weights)


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("stage", zero.STAGES)
def test_a_rank_keeps_the_bytes_of_the_formula(stage, ranks):
    weights = sum(calculator.parameters(CONFIG).values())
    for found in by_rank(ranks):
        assert found[stage][0] / (2 * weights) == pytest.approx(zero.state_bytes(stage, ranks), rel=0.05)


@pytest.mark.parametrize("stage", zero.STAGES)
def test_a_rank_calls_for_the_bytes_of_the_formula(stage):
    weights = sum(calculator.parameters(CONFIG).values())
    head = calculator.parameters(CONFIG)["head"]
    sent = by_rank(3)[0][stage][2] / (8 * weights)
    # The last module's backward pass follows its forward pass: one gather serves both.
    spared = head / weights * 2 / 3 if stage == 3 else 0
    assert sent == pytest.approx(zero.traffic(stage, 3) - spared, rel=0.01)


@on_linux
def test_sockets_send_what_gloo_makes_of_the_calls():
    weights = 8 * sum(calculator.parameters(CONFIG).values())
    sent = [by_rank(3)[0][stage][1] / weights for stage in zero.STAGES]
    formula = [by_rank(3)[0][stage][2] / weights for stage in zero.STAGES]
    # Headers are some per cent of such small messages.
    assert sent[0] == pytest.approx(formula[0], rel=0.1)
    # No library sends less than the best algorithm; gloo's reduce-scatter sends up to an all-reduce, 2/3 more here.
    for stage in (1, 2, 3):
        assert formula[stage] <= sent[stage] <= formula[stage] + 2 / 3 + 0.2


def test_formulas_of_the_paper_for_64_ranks():
    mixed = calculator.RECIPES["16-bit with float32 master weights, Adam"]
    billions = [7.5 * zero.state_bytes(stage, 64, mixed) for stage in zero.STAGES]
    assert billions == pytest.approx([120, 31.4, 16.6, 1.88], rel=0.01)  # figure 1 of the paper, in GB


def test_an_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="stages 0"):
        zero.state_bytes(4, 2)


def test_compare_gathers_what_ranks_counted():
    found = zero.compare(CONFIG, (1, 2), batch=2)
    assert found.kept[0] == pytest.approx({1: 16, 2: 16}, rel=0.05)
    assert found.kept[3][2] == pytest.approx(8, rel=0.05)
    assert found.formula[0] == pytest.approx({1: 0, 2: 1}, rel=0.01)
    assert found.sent[3][2] >= found.formula[3][2]
    assert found.apart < 1e-6
