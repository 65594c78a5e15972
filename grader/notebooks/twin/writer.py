"""Values into the trees and blobs of one message."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import json
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from grader.later import imported_torch, torch, torch_class
from grader.notebooks.twin.tables import write_pandas
from grader.notebooks.twin.values import (
    LIBRARIES,
    MAX_DEPTH,
    PACKED_FROM,
    TEXTS,
    VIEWS,
    Reference,
    Refused,
    name_of,
)
from grader.sandbox import wire


class Writer:
    """Writes the values of one message."""

    def __init__(
        self, *, trusted: bool, hold: Callable[[Any], Any], classes: Iterable[str], own: dict[str, Any]
    ):
        """`trusted` is the tests' side. `hold(value)` returns the tree of a handle or of a callable.

        `classes` are the names of the instructor's own classes, which exist on both sides in the namespace `own`.
        """
        self.blobs: list[memoryview] = []
        self.tensors: list[torch.Tensor] | None = None  # those of this message that need a gradient
        self.by_value = False  # modules as their state, not as handles
        self._trusted, self._hold, self._classes, self._own = trusted, hold, classes, own
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []

    def write(self, value: Any, depth: int = 0) -> Any:
        """Return the tree of `value`; raises Refused."""
        if depth > MAX_DEPTH:
            raise Refused(f"a value is nested more than {MAX_DEPTH} deep")
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if abs(value) < 1 << 53 else {"i": hex(value)}
        if kind is float:
            return {"f": value.hex()}
        if id(value) in self._numbers:
            return {"#": self._numbers[id(value)]}
        if kind in _SHARED or isinstance(value, (np.ndarray, torch_class("Tensor"))):
            self._number(value)
        if write := _WRITERS.get(kind):
            return write(self, value, depth + 1)
        return self._other(value, depth)

    def blob(self, data: Any) -> int:
        """Append bytes to the message and return their number."""
        self.blobs.append(memoryview(data).cast("B") if len(data) else memoryview(b""))
        return len(self.blobs) - 1

    def _number(self, value: Any) -> None:
        self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)

    def _other(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if isinstance(value, np.ndarray):
            return self._array(value, depth)
        if isinstance(value, np.generic):
            if value.dtype.hasobject or value.dtype.names:
                raise Refused(f"a value of numpy's {value.dtype} cannot cross")
            return {"n": [value.dtype.str, self.blob(value.tobytes())]}
        if imported_torch() and (tree := self._of_torch(value, depth)):
            return tree
        if isinstance(value, np.dtype) and not value.hasobject and not value.names:
            return {"dt": value.str}
        if isinstance(value, Reference):
            return {"own": object.__getattribute__(value, "_grader_far").number}
        if isinstance(value, type):
            if (name := name_of(value)) is not None:
                return {"ty": name}
            if value.__name__ in self._classes and self._own.get(value.__name__) is value:
                return {"cl": value.__name__}
        if kind.__name__ in self._classes and self._own.get(kind.__name__) is kind:
            self._number(value)
            return {"o": [kind.__name__, self.write(dict(vars(value)), depth + 1)]}
        is_module = isinstance(value, torch_class("nn.Module"))
        if (self._trusted or self.by_value) and is_module and (name := name_of(kind)) is not None:
            self._number(value)
            return {"o": [name, self.write(dict(vars(value)), depth + 1)]}
        if "pandas" in sys.modules and (tree := write_pandas(self, value, depth)):
            return tree
        return self._from_tests(value, depth) if self._trusted else self._from_student(value, depth)

    def _from_tests(self, value: Any, depth: int) -> Any:
        if type(value) in VIEWS or isinstance(value, types.GeneratorType):
            return self.write(list(value), depth + 1)
        if isinstance(value, np.random.Generator):
            state = value.bit_generator.state
            return {"rng": self.write(state, depth + 1)}
        if isinstance(value, np.random.RandomState):
            return {"rs": self.write(value.get_state(), depth + 1)}
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] in LIBRARIES:
            return {"m": value.__name__}
        if (name := _library_name(value)) is not None:
            return {"lib": name}
        if callable(value) and not isinstance(value, (type, torch_class("nn.Module"))):
            return self._hold(value)
        kind = type(value)
        raise Refused(f"an object of the class {kind.__module__}.{kind.__qualname__} cannot be passed on")

    def _from_student(self, value: Any, depth: int) -> Any:
        for base, plain in _BASES:
            if isinstance(value, base):
                return self.write(plain(value), depth + 1)
        return self._hold(value)

    def _array(self, value: np.ndarray, depth: int) -> Any:
        if value.dtype.names:
            raise Refused("an array of records cannot cross")
        shape = list(value.shape)
        if value.dtype.hasobject:
            return {"oa": [shape, [self.write(item, depth + 1) for item in value.ravel().tolist()]]}
        plain = np.ascontiguousarray(value.view(np.ndarray))
        data = plain.reshape(-1).view(np.uint8) if plain.nbytes else b""
        return {"a": [plain.dtype.str, shape, self.blob(data)]}

    def _of_torch(self, value: Any, depth: int) -> dict[str, Any] | None:
        if isinstance(value, torch_class("Tensor")):
            return self._tensor(value, depth)
        if isinstance(value, torch_class("dtype")):
            return {"td": str(value)}
        if isinstance(value, torch_class("device")):
            return {"dev": str(value)}
        if type(value) is torch_class("Size"):
            return {"sz": [self.write(item, depth + 1) for item in value]}
        return None

    def _tensor(self, value: torch.Tensor, depth: int) -> Any:
        name = str(value.dtype).removeprefix("torch.")
        if value.layout is not torch.strided or name not in wire.DTYPES:
            raise Refused(f"a tensor of layout {value.layout} and dtype {value.dtype} cannot cross")
        plain = value.detach().as_subclass(torch.Tensor).cpu().resolve_conj().resolve_neg().contiguous()
        data = plain.reshape(-1).view(torch.uint8).numpy() if plain.numel() else b""
        slot = -1
        # A leaf of the student's keeps its gradient beside it; what was computed stays in the graph over there.
        if value.requires_grad and self.tensors is not None and (self._trusted or not value.is_leaf):
            slot = len(self.tensors)
            self.tensors.append(value)
        gradient = None
        if not self._trusted and value.is_leaf and value.grad is not None:
            gradient = self.write(value.grad.detach(), depth + 1)
        parameter = isinstance(value, torch.nn.Parameter)
        shape = list(plain.shape)
        return {"T": [name, shape, self.blob(data), bool(value.requires_grad), parameter, slot, gradient]}

    def _list(self, value: list[Any], depth: int) -> Any:
        if len(value) >= PACKED_FROM:
            kinds = set(map(type, value))
            if kinds == {float}:
                return {"L": ["d", self.blob(array.array("d", value))]}
            if kinds == {int} and min(value) >= -(1 << 63) and max(value) < 1 << 63:
                return {"L": ["q", self.blob(array.array("q", value))]}
            if kinds <= TEXTS:
                return {"L": ["s", self.blob(json.dumps(value).encode())]}
        return {"l": [self.write(item, depth) for item in value]}


def _items(tag: str) -> Callable[[Writer, Any, int], Any]:
    return lambda writer, value, depth: {tag: [writer.write(item, depth) for item in value]}


def _pairs(tag: str) -> Callable[[Writer, Any, int], Any]:
    return lambda writer, value, depth: {
        tag: [[writer.write(key, depth), writer.write(item, depth)] for key, item in value.items()]
    }


def _parts(tag: str, *names: str) -> Callable[[Writer, Any, int], Any]:
    return lambda writer, value, depth: {tag: [writer.write(getattr(value, name), depth) for name in names]}


def _text(tag: str) -> Callable[[Writer, Any, int], Any]:
    return lambda writer, value, depth: {tag: str(value)}


_DATE, _TIME = ("year", "month", "day"), ("hour", "minute", "second", "microsecond")
_WRITERS: dict[type, Callable[[Writer, Any, int], Any]] = {
    list: Writer._list,
    tuple: _items("t"),
    dict: _pairs("d"),
    set: _items("s"),
    frozenset: _items("fs"),
    complex: lambda writer, value, depth: {"c": [value.real.hex(), value.imag.hex()]},
    bytes: lambda writer, value, depth: {"y": writer.blob(value)},
    bytearray: lambda writer, value, depth: {"Y": writer.blob(bytes(value))},
    slice: _parts("sl", "start", "stop", "step"),
    range: _parts("r", "start", "stop", "step"),
    types.EllipsisType: lambda writer, value, depth: {"e": 0},
    types.NotImplementedType: lambda writer, value, depth: {"ni": 0},
    fractions.Fraction: _parts("fr", "numerator", "denominator"),
    decimal.Decimal: _text("de"),
    datetime.date: _parts("da", *_DATE),
    datetime.datetime: lambda writer, value, depth: (
        _parts("dm", *_DATE, *_TIME)(writer, value, depth) if value.tzinfo is None else writer._hold(value)
    ),
    datetime.timedelta: _parts("dd", "days", "seconds", "microseconds"),
    collections.Counter: _pairs("co"),
    collections.OrderedDict: _pairs("od"),
    collections.defaultdict: _pairs("df"),
    collections.deque: _items("dq"),
}
# Their identity matters: two names for one list stay two names for one list.
_SHARED = {list, dict, set, bytearray, collections.Counter, collections.OrderedDict, collections.defaultdict}
_SHARED |= {collections.deque}
# What a subclass of the student's drops to: the base's own conversion, none of the student's.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__index__),
    (float, float.__float__),
    (complex, lambda value: complex(complex.real.__get__(value), complex.imag.__get__(value))),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
)


def _library_name(value: Any) -> list[str] | None:
    """Return [module, name] where `value` is a library's function or class that can be found by that name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(value, np.ufunc):
        module, name = "numpy", value.__name__
    elif module is None and value is not None and getattr(imported_torch(), str(name), None) is value:
        module = "torch"
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return None
    found: Any = sys.modules.get(module) if module.partition(".")[0] in LIBRARIES else None
    for part in name.split("."):
        found = getattr(found, part, None)
    return [module, name] if found is value and value is not None else None
