"""What crosses between the two interpreters of a notebook, and as what.

Plain data, arrays and tensors cross as themselves, exact types only: what a student's class adds to a base
stays behind. The same list twice in one message is one list again on the other side. Everything else of the
student's becomes a handle (see `grader.notebooks.twin.handles`); everything else of the tests' is refused, except
callables, which the student's side may call. Nothing is unpickled, and no class is looked up by a name that the
student's side sends, except those in `TYPES`.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import re
from typing import Any

import numpy as np
import torch

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
    for name, kind in vars(torch.nn).items():
        if isinstance(kind, type) and issubclass(kind, (torch.nn.Module, torch.nn.Parameter)):
            found[f"{kind.__module__}:{name}"] = kind
    found["torch:Tensor"] = torch.Tensor
    for kind in (fractions.Fraction, decimal.Decimal, datetime.date, datetime.datetime, datetime.timedelta):
        found[f"{kind.__module__}:{kind.__name__}"] = kind
    return found


TYPES = _table()
TYPE_NAMES = {kind: name for name, kind in TYPES.items()}
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
