"""What stands on the side of the tests for an object of the student's: each operation is a request."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from grader.notebooks.twin.values import Reference

# Attributes with two underscores that a test may ask a handle for. Others, such as numpy's __array_interface__,
# would be believed by C code.
_ASKABLE = {
    *("__name__", "__qualname__", "__doc__", "__module__", "__dict__", "__bases__", "__mro__", "__wrapped__"),
    *("__code__", "__defaults__", "__kwdefaults__", "__annotations__", "__self__", "__func__", "__closure__"),
    *("__init__", "__call__", "__len__", "__iter__", "__next__", "__getitem__", "__setitem__", "__str__"),
    *("__repr__", "__abs__", "__neg__", "__enter__", "__exit__", "__reversed__", "__version__"),
}
# Library classes that a student's object may claim to be derived from: kinds of behaviour, never kinds of data.
_BEHAVIOURS = {
    "builtins:function": types.FunctionType,
    "builtins:generator": types.GeneratorType,
    "builtins:method": types.MethodType,
    "builtins:type": type,
}
_OF_TORCH = {
    "torch.nn.modules.module:Module",
    "torch.utils.data.dataset:Dataset",
    "torch.utils.data.dataset:IterableDataset",
    "torch.utils.data.sampler:Sampler",
    "torch.optim.optimizer:Optimizer",
    "torch.autograd.function:Function",
}


class Handle(Reference):
    """A student's object that is not plain data, as the tests have it.

    Attributes, calls, items and iteration are asked for on the student's side. Comparing it, its truth and
    arithmetic with anything but another handle are refused unless the cell allows it: the student's side would
    see the other operand, and would be the judge.
    """

    # The only name here without two underscores, so that no attribute of the student's is hidden by it.
    __slots__ = ("__weakref__", "_grader_far")

    def __init__(self, where: Far):
        object.__setattr__(self, "_grader_far", where)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            where = far(self)
            where.peer.forget(where.number, where.times)

    @property
    def __class__(self) -> type:
        """The nearest library class that the student's object is an instance of: for isinstance."""
        known = map(_behaviour, far(self).bases)
        return next((kind for kind in known if kind is not None), type(self))

    def __getattr__(self, name: str) -> Any:
        hidden = name.startswith(("_repr_", "_ipython_")) or (name.startswith("__") and name not in _ASKABLE)
        if hidden and name.endswith("_"):
            raise AttributeError(name)
        return _attribute(self, "attr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _attribute(self, "setattr", name, value)

    def __delattr__(self, name: str) -> None:
        _attribute(self, "delattr", name)

    def __instancecheck__(self, instance: Any) -> bool:
        if not isinstance(instance, Reference):
            return False
        return _do(self, "isinstance", instance, swap=True) is True

    def __subclasscheck__(self, kind: Any) -> bool:
        return isinstance(kind, Reference) and _do(self, "issubclass", kind, swap=True) is True

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise far(self).peer.refuse("an object of the student's cannot be pickled by a test")

    def __mro_entries__(self, bases: Any) -> Any:
        raise far(self).peer.refuse("a class of the student's cannot be the base of a test's class")

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __format__(self, specification: str) -> str:
        return format(str(self), specification)

    def __dir__(self) -> list[str]:
        return [name for name in _do(self, "dir") if type(name) is str]


def _behaviour(name: str) -> type | None:
    if name not in _OF_TORCH:
        return _BEHAVIOURS.get(name)
    # Where no test has imported it, none can ask for it.
    module, _, kind = name.partition(":")
    return getattr(sys.modules.get(module), kind, None)


class Tests(Protocol):
    """The pristine side, as far as a handle must know it."""

    compare: bool

    def request(self, head: dict[str, Any], args: tuple[Any, ...] = ()) -> Any: ...

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def forget(self, number: int, times: int) -> None: ...

    def refuse(self, why: str) -> BaseException: ...


class Far:
    """Where the object of a handle is, and how often it has been sent."""

    __slots__ = ("bases", "number", "peer", "times")

    def __init__(self, peer: Tests, number: int, bases: list[str]):
        self.peer, self.number, self.bases, self.times = peer, number, bases, 0


def far(handle: Handle) -> Far:
    """Return where the object of a handle is."""
    return object.__getattribute__(handle, "_grader_far")


def _attribute(handle: Handle, operation: str, name: str, *values: Any) -> Any:
    return far(handle).peer.request({"op": operation, "id": far(handle).number, "name": name}, values)


def _do(handle: Handle, operation: str, *others: Any, swap: bool = False) -> Any:
    head = {"op": "do", "id": far(handle).number, "name": operation, "swap": swap}
    return far(handle).peer.request(head, others)


def _judge(handle: Handle, operation: str, *others: Any, swap: bool = False) -> Any:
    """Do what would show test data to the student's side, or let it be the judge, where the cell allows it."""
    peer = far(handle).peer
    if not peer.compare:
        sign = _SIGNS.get(operation, operation)
        raise peer.refuse(
            f"a test applies {sign} to an object of the student's ({type(handle).__name__}), whose side would then "
            "compute the verdict; compare its attributes or its text, or tag the cell compare-in-student"
        )
    return _do(handle, operation, *others, swap=swap)


def _call(handle: Handle, *args: Any, **kwargs: Any) -> Any:
    return far(handle).peer.call(far(handle).number, args, kwargs)


def _remote(operation: str, kind: type | None = None) -> Callable[..., Any]:
    def method(self: Handle, *others: Any) -> Any:
        found = _do(self, operation, *others)
        if kind is not None and type(found) is not kind:
            raise TypeError(f"{operation}() of the student's object returned {type(found).__name__}")
        return found

    return method


def _judged(operation: str, *, swap: bool = False) -> Callable[..., Any]:
    def method(self: Handle, *others: Any) -> Any:
        # A student's object is always equal to itself, and arithmetic among two of them shows nothing.
        if operation in ("eq", "ne") and others[0] is self:
            return operation == "eq"
        if operation in ARITHMETIC and isinstance(others[0], Reference):
            return _do(self, operation, *others, swap=swap)
        return _judge(self, operation, *others, swap=swap)

    return method


ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_SIGNS = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "contains": "in",
    "bool": "bool()",
}
for _name in ARITHMETIC:
    _plain = _name.strip("_")
    setattr(Handle, f"__{_plain}__", _judged(_name))
    setattr(Handle, f"__r{_plain}__", _judged(_name, swap=True))
for _name in (*COMPARISONS, "bool", "contains"):
    setattr(Handle, f"__{_name}__", _judged(_name))
for _name in ("neg", "pos", "invert", "abs", "round", "delitem", "setitem"):
    setattr(Handle, f"__{_name}__", _remote(_name))
for _name in ("str", "repr"):
    setattr(Handle, f"__{_name}__", _remote(_name, str))
Handle.__copy__ = _remote("copy")
Handle.__deepcopy__ = lambda self, memo: _do(self, "deepcopy")


def _array(self: Handle, dtype: Any = None, copy: Any = None) -> np.ndarray:
    found = _do(self, "array")
    if type(found) is not np.ndarray:
        raise TypeError("the student's object did not become an array")
    return found if dtype is None else found.astype(dtype)


def _enter(self: Handle) -> Any:
    return _do(self, "enter")


def _exit(self: Handle, *_: Any) -> bool:
    _do(self, "exit")
    return False


# What an object is only said to be able to do where its class can: callable(), iter() and float() look there.
CAN: dict[str, dict[str, Callable[..., Any]]] = {
    "call": {"__call__": _call},
    "iter": {"__iter__": _remote("iter")},
    "next": {"__next__": _remote("next")},
    "reversed": {"__reversed__": _remote("reversed")},
    "len": {"__len__": _remote("len", int)},
    "getitem": {"__getitem__": _remote("getitem")},
    "float": {"__float__": _remote("float", float)},
    "int": {"__int__": _remote("int", int)},
    "index": {"__index__": _remote("index", int)},
    "enter": {"__enter__": _enter, "__exit__": _exit},
    "array": {"__array__": _array},
}
_classes: dict[tuple[str, tuple[str, ...]], type[Handle]] = {}


def handle_class(name: str, can: tuple[str, ...]) -> type[Handle]:
    """Return the class of handles on objects whose class has this name, and which can do what these words say."""
    key = name[:80], can
    if key not in _classes:
        if len(_classes) > 1000:
            _classes.clear()
        methods = {method: function for word in can for method, function in CAN.get(word, {}).items()}
        methods["__doc__"] = property(lambda self: _attribute(self, "attr", "__doc__"))
        _classes[key] = type(key[0] or "Handle", (Handle,), {**methods, "__slots__": ()})
    return _classes[key]
