"""The memory calculator against the model, autograd and the allocator."""

import pytest
import torch

from effdl import memory
from effdl.transformer import Config, Transformer, text_batch
from week04_large_models import calculator

CASES = [
    (Config(width=64, blocks=3, length=32, heads=4), 8),
    (Config(width=96, blocks=2, length=64, heads=8, vocabulary=130), 2),
    (Config(width=32, blocks=1, length=16, heads=2), 3),
]


@pytest.mark.parametrize(("config", "batch"), CASES)
def test_parameters_are_those_of_the_model(config, batch):
    model = Transformer(config)
    count = calculator.parameters(config)
    parts = {"embedding": model.embedding, "blocks": model.blocks, "head": model.head}
    assert count == {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


@pytest.mark.parametrize(("config", "batch"), CASES)
def test_saved_bytes_are_what_autograd_saves(config, batch):
    expected = sum(calculator.saved(config, batch, config.length).values())
    assert calculator.measured_saved(config, batch) == expected


@pytest.mark.parametrize(("config", "batch"), CASES)
def test_peak_is_near_what_the_allocator_sees(config, batch):
    text_batch(0, 1, 8)
    calculator.training_run(config, batch)  # what a first call leaves behind
    measured = memory.measure(calculator.training_run, config, batch).peak
    assert calculator.peak(config, batch, config.length) == pytest.approx(measured, rel=0.06)


def test_adam_steps_as_pytorchs():
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    adam, reference = calculator.Adam([ours], 0.01), torch.optim.Adam([theirs], 0.01)
    for _ in range(5):
        gradient = torch.randn(5)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adam.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_bytes_alive_end_where_the_call_began_and_reach_the_peak():
    def function():
        x = torch.ones(1000)
        return (x + x).sum().item()

    function()
    sizes = calculator.alive(function)
    assert max(sizes) == memory.measure(function).peak
    assert sizes[-1] == 0


def test_parts_of_the_peak_add_up_to_it():
    config, batch = CASES[0]
    parts = calculator.parts_of_peak(config, batch)
    assert sum(parts.values()) == pytest.approx(calculator.peak(config, batch, config.length) / 1e6)
    assert sum(parts.values()) == pytest.approx(calculator.measured_peak(config, batch), rel=0.06)


def test_alive_says_where_nothing_was_allocated():
    with pytest.raises(RuntimeError, match="no allocation on cuda"):
        calculator.alive(lambda: torch.ones(10).sum(), "cuda")
