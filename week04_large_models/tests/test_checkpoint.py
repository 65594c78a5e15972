"""Own checkpoint: gradients to the bit, dropout masks, random state, memory, and what it refuses."""

import pytest
import torch
import torch.utils.checkpoint as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from effdl import memory
from effdl.transformer import Config, Transformer, next_token_loss, text_batch
from week04_large_models.checkpoint import checkpoint


def gradients(model, run, seed=3):
    """Gradients of one step with a seed for its dropout, and the next random number afterwards."""
    tokens, targets = text_batch(0, 2, 16)
    torch.manual_seed(seed)
    model.zero_grad()
    x = model.embedding(tokens)
    for block in model.blocks:
        x = run(block, x)
    next_token_loss(model.head(x), targets).backward()
    return [p.grad.clone() for p in model.parameters()], torch.rand(1)


def test_gradients_with_dropout_are_those_of_the_plain_model_to_the_bit():
    model = Transformer(Config(length=16, width=32, heads=2, blocks=3, dropout=0.2))
    plain, after_plain = gradients(model, lambda block, x: block(x))
    ours, after_ours = gradients(model, checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert torch.equal(after_plain, after_ours)


def test_without_the_random_state_another_mask_gives_wrong_gradients():
    model = Transformer(Config(length=16, width=32, heads=2, blocks=3, dropout=0.2))
    plain, _ = gradients(model, lambda block, x: block(x))
    wrong, _ = gradients(model, lambda block, x: checkpoint(block, x, random_state=False))
    assert max((a - b).abs().max() for a, b in zip(plain, wrong, strict=True)) > 1e-3


@settings(max_examples=15, deadline=None)
@given(
    depth=st.integers(1, 4),
    cuts=st.integers(1, 4),
    dropout=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_any_division_into_checkpoints_gives_the_same_gradients(depth, cuts, dropout, seed):
    torch.manual_seed(seed)
    layers = [nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Dropout(dropout)) for _ in range(depth)]
    groups = [nn.Sequential(*layers[start : start + cuts]) for start in range(0, depth, cuts)]
    found = []
    for run in (lambda group, x: group(x), checkpoint):
        x = torch.linspace(-1, 1, 15).view(3, 5).requires_grad_()
        torch.manual_seed(seed)
        y = x
        for group in groups:
            y = run(group, y)
        parameters = [p for layer in layers for p in layer.parameters()]
        found.append(torch.autograd.grad(y.square().sum(), [x, *parameters]))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_kept_bytes_are_those_of_pytorchs_checkpoint():
    model = Transformer(Config(length=32, width=32, heads=2, blocks=4))
    tokens, targets = text_batch(0, 4, 32)

    def forward(run):
        x = model.embedding(tokens)
        for block in model.blocks:
            x = run(block, x)
        return next_token_loss(model.head(x), targets)

    ways = {
        "plain": lambda block, x: block(x),
        "ours": checkpoint,
        "theirs": lambda block, x: theirs.checkpoint(block, x, use_reentrant=False),
    }
    forward(ways["plain"])
    kept = {name: memory.measure(forward, run).kept for name, run in ways.items()}
    assert kept["ours"] == pytest.approx(kept["theirs"], rel=0.1)
    assert kept["ours"] < kept["plain"] / 3


def test_the_second_run_ends_with_the_last_tensor_that_is_needed():
    reached = []

    def function(x):
        y = x.tanh()
        reached.append("saved")
        return reached.append("end") or y + 1

    checkpoint(function, torch.ones(3, requires_grad=True)).sum().backward()
    assert reached == ["saved", "end"]  # tanh saves its output, and nothing comes after it


def test_recomputed_tensors_die_as_early_as_those_that_were_kept():
    layers = nn.Sequential(*(nn.Linear(50, 50) for _ in range(10)))
    x = torch.ones(500, 50, requires_grad=True)

    def peak(run):
        layers.zero_grad()
        x.grad = None
        return memory.measure(lambda: run(layers, x).sum().backward()).peak

    assert peak(checkpoint) == peak(lambda function, y: theirs.checkpoint(function, y, use_reentrant=False))


def test_a_graph_that_is_kept_can_be_walked_twice():
    layer, x = nn.Linear(3, 3), torch.ones(2, 3, requires_grad=True)
    loss = checkpoint(lambda y: layer(y).tanh().square(), x).sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, x)[0])


def test_checkpoints_nest():
    layer = nn.Linear(3, 3)

    def inner(y):
        return layer(y).tanh()

    def outer(y):
        return checkpoint(inner, checkpoint(inner, y)).square()

    x = torch.linspace(0, 1, 6).view(2, 3).requires_grad_()
    ours = torch.autograd.grad(checkpoint(outer, x).sum(), [x, layer.weight])
    plain = torch.autograd.grad(inner(inner(x)).square().sum(), [x, layer.weight])
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


def test_a_function_that_does_less_the_second_time_is_refused():
    calls = []

    def fickle(x):
        calls.append(1)
        return x.tanh().tanh() if len(calls) == 1 else x.tanh()

    loss = checkpoint(fickle, torch.ones(3, requires_grad=True)).sum()
    with pytest.raises(RuntimeError, match="saved 1 tensors, the forward pass 2"):
        loss.backward()
