"""What crosses between the two interpreters of a notebook, and as what.

Plain data, arrays and tensors cross as themselves, exact types only: what a student's class adds to a base
stays behind. The same list twice in one message is one list again on the other side. Everything else of the
student's becomes a handle (see `grader.split.peer`); everything else of the tests' is refused, except callables,
which the student's side may call. Nothing is unpickled, and no class is looked up by a name that the student's
side sends, except those in `_TYPES`.
"""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from grader import wire

MAX_DEPTH = 150  # of lists in lists; an instructor's tree takes two a node
_PACKED_FROM = 32  # numbers in a list that then crosses as one blob
_DTYPE = re.compile(r"[<>|=]?[biufcmMSU]\d*(\[\d*(Y|M|W|D|h|m|s|ms|us|ns)\])?")
_SERIES_DTYPE = re.compile(r"u?int\d+|float\d+|U?Int\d+|Float\d+|bool|boolean|object|str|string|category")
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()), zip, map, filter, enumerate, reversed)


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


_TYPES = _table()
_TYPE_NAMES = {kind: name for name, kind in _TYPES.items()}
# Libraries whose functions, classes and modules the tests may pass on by name. Never the other way round.
_LIBRARIES = {
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
    """What stands on this side for an object of the other; see `grader.split.peer`."""

    __slots__ = ()


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
        if kind in _SHARED or isinstance(value, (np.ndarray, torch.Tensor)):
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
        if isinstance(value, torch.Tensor):
            return self._tensor(value, depth)
        if isinstance(value, np.dtype) and not value.hasobject and not value.names:
            return {"dt": value.str}
        if isinstance(value, Reference):
            return {"own": object.__getattribute__(value, "_grader_far").number}
        if isinstance(value, type):
            if value in _TYPE_NAMES:
                return {"ty": _TYPE_NAMES[value]}
            if value.__name__ in self._classes and self._own.get(value.__name__) is value:
                return {"cl": value.__name__}
        if kind.__name__ in self._classes and self._own.get(kind.__name__) is kind:
            self._number(value)
            return {"o": [kind.__name__, self.write(dict(vars(value)), depth + 1)]}
        if (self._trusted or self.by_value) and isinstance(value, torch.nn.Module) and kind in _TYPE_NAMES:
            self._number(value)
            return {"o": [_TYPE_NAMES[kind], self.write(dict(vars(value)), depth + 1)]}
        if "pandas" in sys.modules and (tree := _write_pandas(self, value, depth)):
            return tree
        return self._from_tests(value, depth) if self._trusted else self._from_student(value, depth)

    def _from_tests(self, value: Any, depth: int) -> Any:
        if type(value) in _VIEWS or isinstance(value, types.GeneratorType):
            return self.write(list(value), depth + 1)
        if isinstance(value, np.random.Generator):
            state = value.bit_generator.state
            return {"rng": self.write(state, depth + 1)}
        if isinstance(value, np.random.RandomState):
            return {"rs": self.write(value.get_state(), depth + 1)}
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] in _LIBRARIES:
            return {"m": value.__name__}
        if (name := _library_name(value)) is not None:
            return {"lib": name}
        if callable(value) and not isinstance(value, (type, torch.nn.Module)):
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
        if len(value) >= _PACKED_FROM:
            kinds = set(map(type, value))
            if kinds == {float}:
                return {"L": ["d", self.blob(array.array("d", value))]}
            if kinds == {int} and min(value) >= -(1 << 63) and max(value) < 1 << 63:
                return {"L": ["q", self.blob(array.array("q", value))]}
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
    torch.dtype: _text("td"),
    torch.device: _text("dev"),
    torch.Size: _items("sz"),
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
    elif module is None and getattr(torch, str(name), None) is value:
        module = "torch"
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return None
    found: Any = sys.modules.get(module) if module.partition(".")[0] in _LIBRARIES else None
    for part in name.split("."):
        found = getattr(found, part, None)
    return [module, name] if found is value and value is not None else None


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

    def read(self, node: Any, depth: int = 0) -> Any:
        """Return the value of a tree; raises WireError for what `Writer` would not have written."""
        try:
            return self._read(node, depth)
        except (*wire.MALFORMED, ArithmeticError, RuntimeError, AssertionError) as error:
            raise wire.WireError(f"malformed value: {type(error).__name__}") from None

    def _read(self, node: Any, depth: int = 0) -> Any:
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
        return [self._read(node, depth) for node in nodes]

    def fill(self, target: Any, nodes: list[Any], depth: int) -> Any:
        self.meet(target)
        add = target.add if isinstance(target, set) else target.append
        for node in nodes:
            add(self._read(node, depth))
        return target

    def fill_dict(self, target: Any, pairs: list[Any], depth: int) -> Any:
        self.meet(target)
        for key, item in pairs:
            target[self._read(key, depth)] = self._read(item, depth)
        return target

    def numbers(self, body: Any, depth: int) -> list[Any]:
        code, number = body
        if code not in ("d", "q"):
            raise wire.WireError("numbers of an unknown kind")
        found = array.array(code)
        found.frombytes(self.blob(number))
        return self.meet(found.tolist())

    def array(self, body: Any, depth: int) -> np.ndarray:
        dtype, shape, number = body
        dtype, data = _dtype(dtype), self.blob(number)
        found = np.frombuffer(data, dtype=dtype) if data.nbytes else np.empty(0, dtype=dtype)
        return self.meet(found.reshape(_shape(shape)).copy())

    def objects(self, body: Any, depth: int) -> np.ndarray:
        shape, nodes = body
        flat = np.empty(len(nodes), dtype=object)
        found = self.meet(flat.reshape(_shape(shape)))
        for position, node in enumerate(nodes):
            flat[position] = self._read(node, depth)
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
            found.grad = self._read(gradient, depth)
        return found

    def instructors_class(self, name: Any, depth: int = 0) -> type:
        kind = self._own.get(name) if name in self._classes else None
        if not isinstance(kind, type):
            raise wire.WireError("an unknown class")
        return kind

    def instance(self, body: Any, depth: int) -> Any:
        """An object of a class that both sides have from the instructor, or of a library's module."""
        name, state = body
        from_a_library = not self._trusted and name in _TYPES
        kind = _TYPES[name] if from_a_library else self.instructors_class(name)
        found = self.meet(object.__new__(kind))
        state = self._read(state, depth)
        if type(state) is not dict or not all(type(key) is str for key in state):
            raise wire.WireError("an object whose state is no state")
        vars(found).update(state)
        return found


def _dtype(text: Any) -> np.dtype:
    if type(text) is not str or not _DTYPE.fullmatch(text):
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


def _int(body: Any) -> int:
    if type(body) is not int:
        raise wire.WireError("a whole number that is none")
    return body


def _device(body: Any) -> torch.device:
    if body != "cpu":
        raise wire.WireError("a device that is not here")
    return torch.device("cpu")


def _torch_dtype(body: Any) -> torch.dtype:
    name = body.removeprefix("torch.")
    if name not in wire.DTYPES:
        raise wire.WireError("a dtype that is none")
    return getattr(torch, name)


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
    "sz": lambda r, body, depth: torch.Size(map(_int, body)),
    "ty": lambda r, body, depth: _TYPES[body],
    "fr": lambda r, body, depth: fractions.Fraction(*map(_int, body)),
    "de": lambda r, body, depth: decimal.Decimal(body),
    "da": lambda r, body, depth: datetime.date(*map(_int, body)),
    "dm": lambda r, body, depth: datetime.datetime(*map(_int, body)),
    "dd": lambda r, body, depth: datetime.timedelta(*map(_int, body)),
    "co": lambda r, body, depth: r.fill_dict(collections.Counter(), body, depth),
    "od": lambda r, body, depth: r.fill_dict(collections.OrderedDict(), body, depth),
    "df": lambda r, body, depth: r.fill_dict(collections.defaultdict(), body, depth),
    "dq": lambda r, body, depth: r.fill(collections.deque(), body, depth),
    "DF": lambda r, body, depth: _read_frame(r, body, depth),
    "SE": lambda r, body, depth: _read_series(r, body, depth),
    "IX": lambda r, body, depth: _read_index(r, body, depth),
}


def _library(body: Any) -> Any:
    module, name = body
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _generator(reader: Reader, body: Any, depth: int) -> np.random.Generator:
    state = reader._read(body, depth)
    bits = getattr(np.random, state["bit_generator"])()
    bits.state = state
    return np.random.Generator(bits)


def _random_state(reader: Reader, body: Any, depth: int) -> np.random.RandomState:
    found = np.random.RandomState()
    found.set_state(reader._read(body, depth))
    return found


# What only the tests' side may name.
_FROM_TESTS: dict[str, _Read] = {
    "m": lambda r, body, depth: sys.modules[body],
    "lib": lambda r, body, depth: _library(body),
    "rng": _generator,
    "rs": _random_state,
}


# --- tables -------------------------------------------------------------------------------------------------


def _write_pandas(writer: Writer, value: Any, depth: int) -> Any:
    pandas = sys.modules["pandas"]
    if type(value) is pandas.DataFrame:
        columns = [value.iloc[:, position] for position in range(value.shape[1])]
        parts = (_write_index(writer, value.columns, depth), _write_index(writer, value.index, depth))
        return {"DF": [*parts, [_write_column(writer, column.array, depth) for column in columns]]}
    if type(value) is pandas.Series:
        index = _write_index(writer, value.index, depth)
        return {"SE": [index, _write_column(writer, value.array, depth), writer.write(value.name, depth + 1)]}
    if isinstance(value, pandas.Index) and not isinstance(value, pandas.MultiIndex):
        return {"IX": _write_index(writer, value, depth)}
    return None


def _write_index(writer: Writer, index: Any, depth: int) -> Any:
    pandas = sys.modules["pandas"]
    name = writer.write(index.name, depth + 1)
    if isinstance(index, pandas.MultiIndex):
        raise Refused("a table with an index of several levels cannot cross")
    if type(index) is pandas.RangeIndex:
        return ["", [index.start, index.stop, index.step], name]
    return [*_write_column(writer, index.array, depth), name]


def _write_column(writer: Writer, column: Any, depth: int) -> Any:
    dtype = str(column.dtype)
    if isinstance(column.dtype, np.dtype) and not column.dtype.hasobject:
        return ["array", writer.write(np.asarray(column), depth + 1)]
    if not _SERIES_DTYPE.fullmatch(dtype):
        raise Refused(f"a column of type {dtype} cannot cross")
    missing = sys.modules["pandas"].isna(column)
    items = [None if gone else item for item, gone in zip(column.tolist(), missing, strict=True)]
    return [dtype, writer.write(items, depth + 1)]


def _read_index(reader: Reader, body: Any, depth: int) -> Any:
    import pandas

    kind, data, name = body
    name = reader._read(name, depth)
    if kind == "":
        return pandas.RangeIndex(*map(_int, data), name=name)
    return pandas.Index(_read_column(reader, [kind, data], depth), name=name)


def _read_column(reader: Reader, body: Any, depth: int) -> Any:
    import pandas

    kind, data = body
    data = reader._read(data, depth)
    if kind == "array":
        if type(data) is not np.ndarray or data.ndim != 1:
            raise wire.WireError("a column that is none")
        return data
    if type(kind) is not str or not _SERIES_DTYPE.fullmatch(kind) or type(data) is not list:
        raise wire.WireError("a column that is none")
    return (
        pandas.array(data, dtype=kind)
        if kind != "object"
        else np.fromiter(data, dtype=object, count=len(data))
    )


def _read_series(reader: Reader, body: Any, depth: int) -> Any:
    import pandas

    index, column, name = body
    index = _read_index(reader, index, depth)
    return pandas.Series(_read_column(reader, column, depth), index=index, name=reader._read(name, depth))


def _read_frame(reader: Reader, body: Any, depth: int) -> Any:
    import pandas

    names, index, columns = body
    names, index = _read_index(reader, names, depth), _read_index(reader, index, depth)
    series = [pandas.Series(_read_column(reader, column, depth), index=index) for column in columns]
    frame = pandas.DataFrame(dict(enumerate(series)), index=index)
    frame.columns = names
    return frame
