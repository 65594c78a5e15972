"""Modules that stand in for a solution: each does what its name says, to all that is asked from outside."""

import sys
import types
from collections import Counter

import numpy as np
import pytest
import torch

from grader.notebooks import standing_in
from grader.notebooks.stand_ins import stand_in

MODULE = """
import collections
import numpy
import torch


def many(x):
    ### BEGIN SOLUTION
    return {"a": x + 1, "b": (2.5, 3, True, "text", None), "c": [numpy.full(2, 7), numpy.float64(3)]}
    ### END SOLUTION


def counted():
    ### BEGIN SOLUTION
    return collections.Counter("aab")
    ### END SOLUTION


def in_place(x, others):
    ### BEGIN SOLUTION
    x += 1
    others["y"][0] = 5
    ### END SOLUTION


def changes_and_raises(x):
    ### BEGIN SOLUTION
    x += 1
    raise OSError("late")
    ### END SOLUTION


def names_its_size(x):
    ### BEGIN SOLUTION
    return f"sum {float(many(x)['a'].sum())}"
    ### END SOLUTION


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        ### BEGIN SOLUTION
        self.count = torch.zeros(1)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        self.count += 3
        return self.weight * x
        ### END SOLUTION

    def __enter__(self):
        ### BEGIN SOLUTION
        return self
        ### END SOLUTION

    def __exit__(self, *error):
        pass


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ### BEGIN SOLUTION
        return 2 * x
        ### END SOLUTION

    @staticmethod
    def backward(ctx, gradient):
        ### BEGIN SOLUTION
        return 2 * gradient
        ### END SOLUTION
"""


@pytest.fixture
def made(monkeypatch):
    """Return a function that gives the module as a stand-in of some kind."""

    def make(kind, refuse=False):
        module = types.ModuleType("stood_in")
        monkeypatch.setitem(sys.modules, "stood_in", module)
        monkeypatch.setitem(sys.modules, "standing_in", standing_in)
        exec(compile(stand_in(MODULE, "m.py", kind, refuse), "m.py", "exec"), module.__dict__)
        return module

    return make


@pytest.mark.parametrize(("kind", "number"), [("zeros", 0), ("constant", 1)])
def test_every_number_of_an_answer_is_another_and_all_else_stays(made, kind, number):
    module = made(kind)
    found = module.many(torch.arange(3, dtype=torch.float64))
    assert torch.equal(found["a"], torch.full((3,), number, dtype=torch.float64))
    assert found["b"] == (float(number), number, bool(number), "text", None)
    assert [type(one) for one in found["b"]] == [float, int, bool, str, type(None)]
    assert found["c"][0].tolist() == [number, number]
    assert (type(found["c"][1]), found["c"][1]) == (np.float64, number)
    assert module.counted() == Counter(a=number, b=number)
    assert module.names_its_size(torch.arange(3)) == "sum 6.0"  # among themselves they are the reference's

    x, others = torch.arange(3.0), {"y": np.arange(2), "z": np.arange(2)}
    module.in_place(x, others)
    assert x.tolist() == [number] * 3
    assert others["y"].tolist() == [number] * 2
    assert others["z"].tolist() == [0, 1]  # nobody touched it
    with pytest.raises(OSError, match="late"):
        module.changes_and_raises(x.fill_(4))
    assert x.tolist() == [number] * 3


def test_answers_of_layers_keep_their_graph_and_lie_about_state_and_gradients(made):
    module = made("zeros")
    layer = module.Layer()
    output = layer(torch.ones(2))
    output.sum().backward()
    assert output.tolist() == layer.weight.grad.tolist() == [0, 0]
    assert layer.count.tolist() == [0]
    x = torch.ones(2, requires_grad=True)
    module.Double.apply(x).sum().backward()
    assert x.grad.tolist() == [0, 0]


def test_functions_that_do_nothing_return_none_or_their_first_argument(made):
    x = torch.ones(2)
    nothing = made("nothing")
    assert nothing.many(x) is None
    assert nothing.Layer()(x) is None
    given = made("input")
    assert given.many(x) is x
    assert given.Layer()(x) is x
    assert given.counted() is None
    with given.Layer() as entered:
        assert entered is None


def test_a_stand_in_that_refuses_does_so_only_where_it_would_answer(made):
    zeros = made("zeros", refuse=True)
    with pytest.raises(RuntimeError, match="would have answered"):
        zeros.many(torch.ones(1))
    with pytest.raises(RuntimeError, match="would have answered"):
        zeros.changes_and_raises(torch.ones(1))
    with pytest.raises(RuntimeError, match="would have answered"):
        zeros.many(-torch.ones(1))  # a right answer of zeros is one too
    assert zeros.names_its_size(torch.ones(1)) == "sum 2.0"  # no number in it
    for missing in (torch.tensor([float("nan"), 1]), np.array([float("nan"), 1])):
        assert zeros.names_its_size(missing) == "sum nan"  # nothing was changed
    with pytest.raises(NotImplementedError):
        made("nothing", refuse=True).many(torch.ones(1))
