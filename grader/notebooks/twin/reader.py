"""Values out of the trees and blobs of one message."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from grader.later import torch
from grader.notebooks.twin.tables import read_frame, read_index, read_series
from grader.notebooks.twin.values import (
    DTYPE,
    MAX_DEPTH,
    TEXTS,
    type_named,
    whole_number,
)
from grader.sandbox import wire


class Reader:
    """Reads the values of one message that the other side wrote."""

    def __init__(
        self,
        blobs: list[memoryview],
        *,
        trusted: bool,
        find: Callable[[str, Any], Any],
        classes: Iterable[str],
        own: dict[str, Any],
    ):
        """`trusted` is the tests' side. `find(tag, body)` returns what a handle, or a reference home, stands for."""
        self.tensors: dict[int, torch.Tensor] = {}  # by slot, on the student's side
        self.graft: Callable[[int, torch.Tensor], torch.Tensor] | None = None  # on the tests' side
        self._blobs, self._trusted, self._find = blobs, trusted, find
        self._classes, self._own = classes, own
        self._met: list[Any] = []
        self.nothing = False  # an array of no elements was among the values

    def read(self, node: Any, depth: int = 0) -> Any:
        """Return the value of a tree; raises WireError for what `Writer` would not have written."""
        try:
            return self.read_node(node, depth)
        except (*wire.MALFORMED, ArithmeticError, RuntimeError, AssertionError) as error:
            raise wire.WireError(f"malformed value: {type(error).__name__}") from None

    def read_node(self, node: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise wire.WireError("nested too deep")
        if node is None or type(node) in (bool, int, str):
            return node
        if type(node) is not dict or len(node) != 1:
            raise wire.WireError("a value without a tag")
        ((tag, body),) = node.items()
        if read := _READERS.get(tag):
            return read(self, body, depth + 1)
        if not self._trusted and (read := _FROM_TESTS.get(tag)):
            return read(self, body, depth + 1)
        return self._find(tag, body)

    def blob(self, number: Any) -> memoryview:
        if type(number) is not int or number < 0:
            raise wire.WireError("a blob number that is no number")
        return self._blobs[number]

    def meet(self, value: Any) -> Any:
        """Remember a value that may come again in this message."""
        self._met.append(value)
        return value

    def again(self, number: Any) -> Any:
        if type(number) is not int or number < 0:
            raise wire.WireError("a number that is no number")
        return self._met[number]

    def items(self, nodes: list[Any], depth: int) -> list[Any]:
        return [self.read_node(node, depth) for node in nodes]

    def fill(self, target: Any, nodes: list[Any], depth: int) -> Any:
        self.meet(target)
        add = target.add if isinstance(target, set) else target.append
        for node in nodes:
            add(self.read_node(node, depth))
        return target

    def fill_dict(self, target: Any, pairs: list[Any], depth: int) -> Any:
        self.meet(target)
        for key, item in pairs:
            target[self.read_node(key, depth)] = self.read_node(item, depth)
        return target

    def numbers(self, body: Any, depth: int) -> list[Any]:
        code, number = body
        if code == "s":
            return self.meet(self._texts(self.blob(number)))
        if code not in ("d", "q"):
            raise wire.WireError("numbers of an unknown kind")
        found = array.array(code)
        found.frombytes(self.blob(number))
        return self.meet(found.tolist())

    def _texts(self, blob: memoryview) -> list[str | None]:
        data = bytes(blob)
        if wire.has_too_many(data):
            raise wire.WireError("a list of too many texts")
        found = json.loads(data.decode())
        if type(found) is not list or not TEXTS.issuperset(map(type, found)):
            raise wire.WireError("a list of texts that is none")
        return found

    def array(self, body: Any, depth: int) -> np.ndarray:
        dtype, shape, number = body
        dtype, data = _dtype(dtype), self.blob(number)
        self.nothing |= not data.nbytes
        found = np.frombuffer(data, dtype=dtype) if data.nbytes else np.empty(0, dtype=dtype)
        return self.meet(found.reshape(_shape(shape)).copy())

    def objects(self, body: Any, depth: int) -> np.ndarray:
        shape, nodes = body
        self.nothing |= not nodes
        flat = np.empty(len(nodes), dtype=object)
        found = self.meet(flat.reshape(_shape(shape)))
        for position, node in enumerate(nodes):
            flat[position] = self.read_node(node, depth)
        return found

    def number(self, body: Any, depth: int) -> np.generic:
        dtype, blob = body
        (found,) = np.frombuffer(self.blob(blob), dtype=_dtype(dtype))
        return found

    def tensor(self, body: Any, depth: int) -> torch.Tensor:
        name, shape, number, needs_gradient, parameter, slot, gradient = body
        shape, data = _shape(shape), self.blob(number)
        if name not in wire.DTYPES:
            raise wire.WireError("a dtype that is none")
        self.nothing |= not data.nbytes
        dtype = getattr(torch, name)
        found = torch.frombuffer(bytearray(data), dtype=dtype) if data.nbytes else torch.empty(0, dtype=dtype)
        if dtype is torch.bool:
            found = found.view(torch.uint8).ne(0)
        found = found.reshape(shape)
        if parameter is True:
            found = torch.nn.Parameter(found, requires_grad=needs_gradient is True)
        elif needs_gradient is True:
            found.requires_grad_(True)
        if type(slot) is int and slot >= 0:
            if self.graft is not None:
                found = self.graft(slot, found)
            else:
                self.tensors[slot] = found
        self.meet(found)
        if gradient is not None and found.is_leaf and found.requires_grad:
            found.grad = self.read_node(gradient, depth)
        return found

    def instructors_class(self, name: Any, depth: int = 0) -> type:
        kind = self._own.get(name) if name in self._classes else None
        if not isinstance(kind, type):
            raise wire.WireError("an unknown class")
        return kind

    def instance(self, body: Any, depth: int) -> Any:
        """An object of a class that both sides have from the instructor, or of a library's module."""
        name, state = body
        kind = None if self._trusted else type_named(name)
        kind = kind or self.instructors_class(name)
        found = self.meet(object.__new__(kind))
        state = self.read_node(state, depth)
        if type(state) is not dict or not all(type(key) is str for key in state):
            raise wire.WireError("an object whose state is no state")
        if self._trusted:
            # What a test calls on it is the instructor's: no attribute of the student's may stand before a method.
            state = {key: value for key, value in state.items() if not callable(getattr(kind, key, None))}
        vars(found).update(state)
        return found


def _dtype(text: Any) -> np.dtype:
    if type(text) is not str or not DTYPE.fullmatch(text):
        raise wire.WireError("a dtype that is none")
    return np.dtype(text)


def _shape(shape: Any) -> list[int]:
    if (
        type(shape) is not list
        or len(shape) > 32
        or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
    ):
        raise wire.WireError("a shape that is no shape")
    return shape


def _hex(text: str) -> float:
    return float.fromhex(text)


def _device(body: Any) -> torch.device:
    if body != "cpu":
        raise wire.WireError("a device that is not here")
    return torch.device("cpu")


def _torch_dtype(body: Any) -> torch.dtype:
    name = body.removeprefix("torch.")
    if name not in wire.DTYPES:
        raise wire.WireError("a dtype that is none")
    return getattr(torch, name)


def _type(name: Any) -> type:
    kind = type_named(name)
    if kind is None:
        raise wire.WireError("an unknown type")
    return kind


_Read = Callable[[Reader, Any, int], Any]
_READERS: dict[str, _Read] = {
    "i": lambda r, body, depth: int(body, 16),
    "f": lambda r, body, depth: _hex(body),
    "c": lambda r, body, depth: complex(_hex(body[0]), _hex(body[1])),
    "y": lambda r, body, depth: bytes(r.blob(body)),
    "Y": lambda r, body, depth: r.meet(bytearray(r.blob(body))),
    "#": lambda r, body, depth: r.again(body),
    "l": lambda r, body, depth: r.fill([], body, depth),
    "L": Reader.numbers,
    "t": lambda r, body, depth: tuple(r.items(body, depth)),
    "s": lambda r, body, depth: r.fill(set(), body, depth),
    "fs": lambda r, body, depth: frozenset(r.items(body, depth)),
    "d": lambda r, body, depth: r.fill_dict({}, body, depth),
    "sl": lambda r, body, depth: slice(*r.items(body, depth)),
    "r": lambda r, body, depth: range(*r.items(body, depth)),
    "e": lambda r, body, depth: ...,
    "ni": lambda r, body, depth: NotImplemented,
    "a": Reader.array,
    "oa": Reader.objects,
    "n": Reader.number,
    "T": Reader.tensor,
    "o": Reader.instance,
    "cl": Reader.instructors_class,
    "dt": lambda r, body, depth: _dtype(body),
    "td": lambda r, body, depth: _torch_dtype(body),
    "dev": lambda r, body, depth: _device(body),
    "sz": lambda r, body, depth: torch.Size(map(whole_number, body)),
    "ty": lambda r, body, depth: _type(body),
    "fr": lambda r, body, depth: fractions.Fraction(*map(whole_number, body)),
    "de": lambda r, body, depth: decimal.Decimal(body),
    "da": lambda r, body, depth: datetime.date(*map(whole_number, body)),
    "dm": lambda r, body, depth: datetime.datetime(*map(whole_number, body)),
    "dd": lambda r, body, depth: datetime.timedelta(*map(whole_number, body)),
    "co": lambda r, body, depth: r.fill_dict(collections.Counter(), body, depth),
    "od": lambda r, body, depth: r.fill_dict(collections.OrderedDict(), body, depth),
    "df": lambda r, body, depth: r.fill_dict(collections.defaultdict(), body, depth),
    "dq": lambda r, body, depth: r.fill(collections.deque(), body, depth),
    "DF": lambda r, body, depth: read_frame(r, body, depth),
    "SE": lambda r, body, depth: read_series(r, body, depth),
    "IX": lambda r, body, depth: read_index(r, body, depth),
}


def _library(body: Any) -> Any:
    module, name = body
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _generator(reader: Reader, body: Any, depth: int) -> np.random.Generator:
    state = reader.read_node(body, depth)
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


def _random_state(reader: Reader, body: Any, depth: int) -> np.random.RandomState:
    found = np.random.RandomState()
    found.set_state(reader.read_node(body, depth))
    return found


# What only the tests' side may name.
_FROM_TESTS: dict[str, _Read] = {
    "m": lambda r, body, depth: sys.modules[body],
    "lib": lambda r, body, depth: _library(body),
    "rng": _generator,
    "rs": _random_state,
}
