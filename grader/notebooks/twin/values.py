"""What crosses between the two interpreters of a notebook, and as what.

Plain data, arrays and tensors cross as themselves, exact types only: what a student's class adds to a base
stays behind. The same list twice in one message is one list again on the other side. Everything else of the
student's becomes a handle (see `grader.notebooks.twin.handles`); everything else of the tests' is refused, except
callables, which the student's side may call. Nothing is unpickled, and no class is looked up by a name that the
student's side sends, except those that `type_named` knows.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import re
from typing import Any

import numpy as np

from grader.later import imported_torch, torch
from grader.sandbox import wire

MAX_DEPTH = 150  # of lists in lists; an instructor's tree takes two a node
PACKED_FROM = 32  # numbers or texts in a list that then crosses as one blob
TEXTS = {str, type(None)}  # of such a list of texts
DTYPE = re.compile(r"[<>|=]?[biufcmMSU]\d*(\[\d*(Y|M|W|D|h|m|s|ms|us|ns)\])?")
SERIES_DTYPE = re.compile(r"u?int\d+|float\d+|U?Int\d+|Float\d+|bool|boolean|object|str|string|category")
VIEWS = (type({}.keys()), type({}.values()), type({}.items()), zip, map, filter, enumerate, reversed)


def _table() -> dict[str, type]:
    plain = (
        int,
        float,
        bool,
        complex,
        str,
        bytes,
        bytearray,
        list,
        tuple,
        dict,
        set,
        frozenset,
        range,
        slice,
    )
    found = {f"builtins:{kind.__name__}": kind for kind in (*plain, type(None), object)}
    for module, names in ((collections, ("Counter", "OrderedDict", "defaultdict", "deque")),):
        found |= {f"{module.__name__}:{name}": getattr(module, name) for name in names}
    found |= {f"numpy:{kind.__name__}": kind for kind in {*np.sctypeDict.values(), np.ndarray}}
    for kind in (fractions.Fraction, decimal.Decimal, datetime.date, datetime.datetime, datetime.timedelta):
        found[f"{kind.__module__}:{kind.__name__}"] = kind
    return found


_TYPES = _table()
_NAMES = {kind: name for name, kind in _TYPES.items()}


@functools.cache
def _of_torch() -> dict[str, type]:
    found: dict[str, type] = {"torch:Tensor": torch.Tensor}
    for name, kind in vars(torch.nn).items():
        if isinstance(kind, type) and issubclass(kind, (torch.nn.Module, torch.nn.Parameter)):
            found[f"{kind.__module__}:{name}"] = kind
    return found


@functools.cache
def _names_of_torch() -> dict[type, str]:
    return {kind: name for name, kind in _of_torch().items()}


def type_named(name: Any) -> type | None:
    """Return the library's type that crosses under this name, None where none does."""
    known = _of_torch() if type(name) is str and name.startswith("torch") else _TYPES
    return known.get(name)


def name_of(kind: type) -> str | None:
    """Return the name under which a library's type crosses, None where it does not."""
    name = _NAMES.get(kind)
    return _names_of_torch().get(kind) if name is None and imported_torch() else name


# Libraries whose functions, classes and modules the tests may pass on by name. Never the other way round.
LIBRARIES = {
    "builtins",
    "math",
    "operator",
    "itertools",
    "functools",
    "numpy",
    "scipy",
    "torch",
    "statistics",
}


class Refused(wire.WireError):
    """A value that cannot cross; the message says which and why."""


class Reference:
    """What stands on this side for an object of the other; see `grader.notebooks.twin.handles`."""

    __slots__ = ()


def whole_number(body: Any) -> int:
    """Return `body`, which the other side sent as a whole number; raises WireError where it is none."""
    if type(body) is not int:
        raise wire.WireError("a whole number that is none")
    return body
