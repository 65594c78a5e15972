"""Lies about what a reference answers: a copy of this file lies beside the reference in a trial of the checks.

`grader.notebooks.stand_ins` appends to the reference a line that calls `replace`. It runs in a worker, and imports
nothing of the grader.
"""

from __future__ import annotations

import copy
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

_DEPTH = 4  # of containers within containers that are looked into
_inside = threading.local()


def replace(module: str, functions: list[str], number: int, refuse: bool) -> None:
    """Let each of `functions` (qualified names) of a loaded module answer with `number` in place of every number.

    That holds for what is returned and for what is changed: arguments, their parameters and gradients, attributes.
    Shapes, dtypes and types stay. With `refuse`, RuntimeError is raised where there is one.
    """
    for name in functions:
        *owners, last = name.split(".")
        owner: Any = sys.modules[module]
        for one in owners:
            owner = getattr(owner, one)
        found = vars(owner)[last]
        static = isinstance(found, staticmethod)
        answers = _lying(found.__func__ if static else found, module, number, refuse)
        setattr(owner, last, staticmethod(answers) if static else answers)


def _lying(function: Callable, module: str, number: int, refuse: bool) -> Callable:
    @functools.wraps(function)
    def answer(*args: Any, **kwargs: Any) -> Any:
        if getattr(_inside, "now", False):  # only what is asked from outside is answered falsely
            return function(*args, **kwargs)
        before = {id(leaf): _copy(leaf) for leaf in _leaves((args, kwargs), module)}
        _inside.now, lie, met = True, None, False
        try:
            lie, met = _lie(function(*args, **kwargs), number)
        finally:  # what was changed before an exception is a part of the answer
            _inside.now = False
            touched = [
                leaf
                for leaf in _leaves((args, kwargs), module)
                if (id(leaf) not in before or not _equal(leaf, before[id(leaf)]))
            ]
            if refuse and (touched or met):
                raise RuntimeError("a stand-in would have answered here")
            with torch.no_grad():
                for leaf in touched:
                    leaf.fill(number) if _is_array(leaf) else leaf.fill_(number)
        return lie

    return answer


def _leaves(value: Any, module: str, depth: int = _DEPTH) -> Iterator[Any]:
    """Yield the tensors and arrays in a value."""
    if isinstance(value, torch.Tensor):
        yield value
        if value.is_leaf and value.grad is not None:
            yield value.grad
    elif _is_array(value) and value.dtype.kind in "biuf" and value.flags.writeable:
        yield value
    elif depth == 0:
        return
    else:
        inner: list[Any] = []
        if isinstance(value, torch.nn.Module):
            inner += [*value.parameters(), *value.buffers()]
        if isinstance(value, (list, tuple)):
            inner += value
        elif isinstance(value, dict):
            inner += value.values()
        elif type(value).__module__ == module:
            inner += getattr(value, "__dict__", {}).values()
        for one in inner:
            yield from _leaves(one, module, depth - 1)


def _lie(value: Any, number: int) -> tuple[Any, bool]:
    """Return the value with `number` in place of every number, and whether there was any."""
    if isinstance(value, torch.Tensor):
        # Autograd goes on behind it.
        lie = value * 0 + number if value.requires_grad else torch.full_like(value, number)
        return lie, True
    if _is_array(value) and value.dtype.kind in "biuf":
        return np.full_like(value, number), True
    if type(value) in (bool, int, float) or isinstance(value, np.generic):
        return type(value)(number), True
    if isinstance(value, dict):
        lies, result = {key: _lie(one, number) for key, one in value.items()}, copy.copy(value)
        for key, (one, _) in lies.items():  # the update of a Counter would add
            result[key] = one
        return result, any(met for _, met in lies.values())
    if type(value) in (list, tuple):
        lies = [_lie(one, number) for one in value]
        return type(value)(one for one, _ in lies), any(met for _, met in lies)
    return value, False


def _copy(leaf: Any) -> Any:
    return leaf.copy() if _is_array(leaf) else leaf.detach().clone()


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _equal(one: Any, two: Any) -> bool:
    """Return whether nothing was changed; a missing value (NaN) equals itself here."""
    if one.shape != two.shape:
        return False
    one = one if _is_array(one) else one.detach()
    return bool(((one == two) | ((one != one) & (two != two))).all())
