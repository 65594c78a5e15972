"""Requests between the interpreter of the tests and the student's, over one socket.

The tests' side asks: run this cell, give me these names, call this, with these arguments. The student's side may
ask for one thing only, and only while it is asked: call a callable that was among the arguments. What the
student's side answers is data. Nothing that it sends can make the tests' side run anything.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import operator
import random
import signal
import socket
import sys
import time
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from grader import wire
from grader.split.autograd import Graph, graft
from grader.split.objects import Reader, Reference, Writer

# Both grow with `Pristine.stretch` where the machine is slow.
GRACE = 0.8  # seconds in which the student's side may still answer after the cell has been interrupted
PATIENCE = 3.0  # seconds beyond a cell's limit until the student's side counts as stuck
MAX_NESTED = 60  # calls of callbacks within calls
MAX_TEXT = 4000  # characters of an exception's message or of a student's traceback
_MIMES = ("image/png", "image/jpeg", "text/html", "text/plain", "text/latex")
_REPEAT = 1.0  # seconds between interrupts of a call that swallows the first


class CannotCross(BaseException):
    """What a test asked for cannot be had from the other interpreter. Not an Exception: no test may expect it."""


class StudentGone(CannotCross):
    """The student's process ended, or said what is no answer."""


class Peer:
    """One end of the socket."""

    trusted: bool

    def __init__(self, sock: socket.socket, names: dict[str, Any], classes: list[str]):
        self.sock, self.names, self.classes = sock, names, classes
        self.frames = wire.Frames(wire.unpack)
        self.nested = 0

    def writer(self) -> Writer:
        return Writer(trusted=self.trusted, hold=self.hold, classes=self.classes, own=self.names)

    def reader(self, blobs: list[memoryview]) -> Reader:
        return Reader(blobs, trusted=self.trusted, find=self.find, classes=self.classes, own=self.names)

    def hold(self, value: Any) -> Any:
        raise NotImplementedError

    def find(self, tag: str, body: Any) -> Any:
        raise NotImplementedError

    def receive(self) -> tuple[dict[str, Any], Reader]:
        """Block for one message; raises OSError, EOFError or WireError."""
        while (found := self.frames.receive(self.sock)) is None:
            pass
        message, blobs = found[0]
        if type(message) is not dict or type(message.get("op")) is not str:
            raise wire.WireError("a message without an operation")
        return message, self.reader(blobs)


def arguments(reader: Reader, message: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and named arguments of a message."""
    positional = [reader.read(node) for node in message["a"]]
    return positional, {str(name): reader.read(node) for name, node in message["k"].items()}


# --- the tests' side ----------------------------------------------------------------------------------------


class Pristine(Peer):
    """The end of the tests."""

    trusted = True

    def __init__(self, sock: socket.socket, names: dict[str, Any], classes: list[str]):
        super().__init__(sock, names, classes)
        self.gone = ""  # why the student's side can say no more
        self.refusals: list[str] = []  # of the cell that runs
        self.copy_back = (
            False  # whether what a call changed in the student's names and arguments changes here too
        )
        self.compare = False  # whether the student's side may see what its objects are compared with
        self.deadline = 0.0  # time.monotonic() at which the cell is interrupted
        self.stretch = 1.0  # of what the student's side is given beyond that, see `Place.stretch`
        self.show: Callable[[str, Any], None] = lambda kind, value: None  # what the student printed
        self.pushable: set[str] = set()
        self.student_names: set[str] = set()
        self.calls = 0
        self._callables: list[Any] = []
        self._callable_numbers: dict[int, int] = {}
        self._handles: weakref.WeakValueDictionary[int, Handle] = weakref.WeakValueDictionary()
        self._done: list[list[int]] = []  # [number, times received] of handles that nobody holds any more
        self._graphs: list[int] = []  # calls whose graph nobody holds any more
        self.known: dict[str, Any] = {}  # names that both sides have, with their values here
        self._errors: dict[tuple[str, ...], type[BaseException]] = {}
        self._running = False  # a cell that `begin` started
        self._random = random_state()

    # -- asking

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the student's object with this number."""
        return self.request({"op": "call", "id": number}, args, kwargs)

    def request(
        self, head: dict[str, Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Ask and return the answer; raises what the student's code raised, or CannotCross."""
        kwargs = kwargs or {}
        if self.gone:
            raise self.refuse(self.gone, StudentGone)
        writer = self.writer()
        if head["op"] == "call":
            writer.tensors = []
        try:
            message = {
                **head,
                **self._news(writer),
                "a": [writer.write(value) for value in args],
                "k": {name: writer.write(value) for name, value in kwargs.items()},
                "back": self._data_names() if self.copy_back else None,
                # A little more than is left here, so that it is here that the cell is interrupted first.
                "wall": round(max(0.05, self.deadline - time.monotonic()) + 0.1, 3),
            }
            frame = wire.pack(message, writer.blobs)
        except wire.WireError as error:
            raise self.refuse(str(error)) from None
        self.calls += 1
        answer, reader = self._exchange(frame)
        try:
            names = message["back"] or []
            value, error = self._read_answer(answer, reader, writer, (*args, *kwargs.values()), names)
        except (wire.WireError, *wire.MALFORMED) as wrong:
            self.gone = f"the student's process sent what is no answer ({wrong})"
            raise self.refuse(self.gone, StudentGone) from None
        if error is not None:
            raise error
        return value

    def run_there(self, cell: dict[str, Any], wall: float) -> list[dict[str, Any]]:
        """Run a cell on the student's side and return its outputs, whatever they claim to be."""
        self.begin(cell, wall)
        outputs = self.finish()
        if type(outputs) is not list or not all(type(output) is dict for output in outputs):
            self.gone = "the student's process sent what are no outputs"
            raise self.refuse(self.gone, StudentGone)
        return outputs

    def begin(self, cell: dict[str, Any], wall: float) -> None:
        """Have a cell run on the student's side, at the same time as what runs here until `finish`."""
        if self.gone:
            raise self.refuse(self.gone, StudentGone)
        writer = self.writer()
        try:
            frame = wire.pack({"op": "cell", **cell, "limit": wall, **self._news(writer)}, writer.blobs)
        except wire.WireError as error:
            raise self.refuse(str(error)) from None
        self.sock.settimeout(wall + PATIENCE * self.stretch)
        self._send(frame)
        self._running = True

    def finish(self) -> Any:
        """Wait for the cell that `begin` started, where there is one, and return its outputs."""
        if not self._running:
            return None
        self._running = False
        try:
            message, reader = self._receive()
            return reader.read(message["v"])
        except TimeoutError:
            self.gone = "a cell of the student's did not stop when it was interrupted"
        except (OSError, EOFError):
            self.gone = "the student's process has ended"
        except (wire.WireError, *wire.MALFORMED) as error:
            self.gone = f"the student's process sent what is no answer ({error})"
        finally:
            self.sock.settimeout(None)
        raise self.refuse(self.gone, StudentGone)

    def pull(self, names: list[str]) -> None:
        """Bind these names here to what the student's side has under them; unbind those that it lacks."""
        wanted = [name for name in names if name in self.student_names]
        if not wanted:
            return
        found = self.request({"op": "names", "names": wanted})
        for name in wanted:
            self.names.pop(name, None)
            self.known.pop(name, None)
            if type(found) is dict and name in found:
                self.names[name] = self.known[name] = found[name]

    def give(self, names: list[str]) -> None:
        """From here on these names are the student's."""
        self.student_names.update(names)
        for name in names:
            self.names.pop(name, None)
            self.known.pop(name, None)

    def refuse(self, why: str, kind: type[CannotCross] = CannotCross) -> CannotCross:
        """Return the exception that says why, and make sure that the cell fails by it whatever catches it."""
        self.refusals.append(why)
        return kind(why)

    def know(self, names: list[str]) -> None:
        """Take note that both sides have just bound these names by the same code, and drawn the same numbers."""
        self._random = random_state()
        for name in names:
            if name in self.names:
                self.known[name] = self.names[name]

    def _exchange(self, frame: bytes) -> tuple[dict[str, Any], Reader]:
        """Send a request, serve the callbacks that come before its answer, and return the answer."""
        try:
            self.finish()
            self._send(frame)
            while True:
                message, reader = self._receive()
                if message["op"] in ("ret", "exc"):
                    return message, reader
                self._send(self._serve(message, reader))
        except (wire.WireError, *wire.MALFORMED) as error:
            self.gone = f"the student's process sent what is no answer ({error})"
        except TimeoutError:
            self.gone = "the student's process did not answer in time"
        except (OSError, EOFError):
            self.gone = "the student's process has ended"
        raise self.refuse(self.gone, StudentGone) from None

    def _send(self, frame: bytes) -> None:
        try:
            self.sock.sendall(frame)
        except KeyboardInterrupt:
            self.gone = "the student's process did not take what it was sent"
            raise

    def _receive(self) -> tuple[dict[str, Any], Reader]:
        try:
            return self.receive()
        except KeyboardInterrupt:
            self._await_the_end()
            raise

    def _await_the_end(self) -> None:
        """Wait for the answer of an interrupted request: the student's side is interrupted at the same time."""
        # The interrupts that follow the first would cut this short. They are put off, not stopped: the socket's
        # timeout bounds one read, and an answer that trickles has many.
        _, repeat = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, 1.2 * GRACE * self.stretch if repeat else 0, repeat)
        self.sock.settimeout(GRACE * self.stretch)
        try:
            while self.receive()[0]["op"] not in ("ret", "exc"):
                raise EOFError
        except (OSError, EOFError, wire.WireError, KeyboardInterrupt):
            self.gone = "the student's process did not stop when it was interrupted"
        finally:
            self.sock.settimeout(None)
            signal.setitimer(signal.ITIMER_REAL, repeat, repeat)

    def _read_answer(
        self, message: dict[str, Any], reader: Reader, writer: Writer, args: tuple[Any, ...], names: list[str]
    ) -> tuple[Any, BaseException | None]:
        """Return the value of an answer, or the exception that it stands for."""
        for output in message["out"]:
            self._show(output)
        if message["op"] == "exc":
            return None, self._error(message, reader)
        if writer.tensors is not None:
            graph = Graph(self, message["call"], writer.tensors)
            reader.graft = lambda slot, value: graft(graph, slot, value)
        value = reader.read(message["v"])
        reader.graft = None
        if self.copy_back and "back" in message:
            changed = [reader.read(node) for node in message["back"]]
            for original, new in zip((*args, *map(self.names.get, names)), changed, strict=True):
                put_back(original, new)
            for name, new in zip(names, changed[len(args) :], strict=True):
                if type(self.names.get(name)) is not type(new) or not isinstance(new, _PARTS):
                    self.names[name] = self.known[name] = new
        return value, None

    def _data_names(self) -> list[str]:
        """Return the student's names that stand for plain data here: a call may bind or change them."""
        known = self.known.keys() & self.student_names
        return sorted(
            name
            for name in known
            if not callable(value := self.names.get(name)) and not isinstance(value, Reference)
        )

    def _show(self, output: Any) -> None:
        kind = output["output_type"]
        if kind == "stream" and type(output["text"]) is str:
            print(output["text"], end="", file=sys.stderr if output["name"] == "stderr" else sys.stdout)
        elif kind == "display_data":
            data = {mime: output["data"][mime] for mime in _MIMES if type(output["data"].get(mime)) is str}
            self.show("display_data", data)

    # -- what is told along with every question

    def _news(self, writer: Writer) -> dict[str, Any]:
        """Return what changed here and matters there: names, random states, and what is no longer needed."""
        news: dict[str, Any] = {}
        for name in sorted(self.pushable):
            if name in self.names:
                value = self.names[name]
                mutable = name not in self.student_names and isinstance(value, _PARTS)
                if mutable or self.known.get(name, self) is not value:
                    news.setdefault("set", []).append([name, writer.write(value)])
                    self.known[name] = value
            elif self.known.pop(name, self) is not self:
                news.setdefault("del", []).append(name)
        state = random_state()
        changed = {kind: value for kind, value in state.items() if not _same(self._random.get(kind), value)}
        if changed:
            news["random"] = writer.write(changed)
            self._random = state
        if self._done:
            news["free"], self._done = self._done, []
        if self._graphs:
            news["graphs"], self._graphs = self._graphs, []
        return news

    def forget(self, number: int, times: int) -> None:
        self._done.append([number, times])

    def forget_graph(self, call: int) -> None:
        self._graphs.append(call)

    # -- what the student's side sends

    def hold(self, value: Any) -> Any:
        if id(value) not in self._callable_numbers:
            self._callable_numbers[id(value)] = len(self._callables)
            self._callables.append(value)
        return {"cb": self._callable_numbers[id(value)]}

    def find(self, tag: str, body: Any) -> Any:
        if tag != "h":
            raise wire.WireError("an unknown tag")
        number, name, can, bases, errors = body
        if type(number) is not int or not all(type(word) is str for word in (name, *can, *bases, *errors)):
            raise wire.WireError("a handle that is none")
        if errors:
            return self._error_class(errors)
        if (handle := self._handles.get(number)) is None:
            handle = _handle_class(name, tuple(sorted(can)))(Far(self, number, bases))
            self._handles[number] = handle
        far(handle).times += 1
        return handle

    def _serve(self, message: dict[str, Any], reader: Reader) -> bytes:
        """Return the answer to the one thing that the student's side may ask: a call of what it was handed."""
        number = message.get("id")
        if message["op"] != "cb" or type(number) is not int or number < 0 or self.nested >= MAX_NESTED:
            raise wire.WireError("a request that it may not make")
        function = self._callables[number]
        args, kwargs = arguments(reader, message)
        for output in message["out"]:
            self._show(output)
        writer = self.writer()
        self.nested += 1
        try:
            answer = {"op": "ret", "v": writer.write(function(*args, **kwargs))}
            return wire.pack(answer, writer.blobs)
        except StudentGone:
            raise
        except KeyboardInterrupt:
            self._send(wire.pack({"op": "exc", "mro": ["KeyboardInterrupt"], "text": ""}, []))
            self._await_the_end()
            raise
        except BaseException as error:
            return wire.pack({"op": "exc", "mro": _mro(error), "text": text_of(error)}, [])
        finally:
            self.nested -= 1

    def _error(self, message: dict[str, Any], reader: Reader) -> BaseException:
        mro, text = message["mro"], message["text"]
        if type(text) is not str or not mro or not all(type(name) is str for name in mro[:50]):
            raise wire.WireError("an exception that is none")
        if mro[0] == "KeyboardInterrupt":
            return KeyboardInterrupt()
        if mro[0] == "Refused":
            return self.refuse(text[:MAX_TEXT])
        kind = self._error_class(mro[:50])
        args = reader.read(message["args"])
        try:
            error = kind(*args) if type(args) is tuple else kind(text[:MAX_TEXT])
        except (TypeError, ValueError):  # some built-in exceptions are particular about their arguments
            error = RuntimeError(f"{kind.__name__}: {text[:MAX_TEXT]}")
        if type(trace := message.get("trace")) is str and trace:
            error.add_note(trace[:MAX_TEXT])
        return error

    def _error_class(self, mro: list[str]) -> type[BaseException]:
        """Return the exception class for the names of a student's class and its bases."""
        known = next((name for name in mro if name in _ERRORS), "Exception")
        if known == mro[0] or mro[0] == "BaseException":
            return _ERRORS[known]
        key = tuple(mro)
        if key not in self._errors:
            self._errors[key] = type(mro[0][:80] or "Error", (_ERRORS[known],), {})
        return self._errors[key]


_ERRORS = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, (Exception, SystemExit))
}


def _mro(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def text_of(error: BaseException) -> str:
    """Return the message of an exception, whatever its class does."""
    try:
        return str(str(error))[:MAX_TEXT]
    except Exception as second:
        return f"(its message cannot be read: {type(second).__name__})"


def random_state() -> dict[str, Any]:
    """Return the state of every generator that code shares without naming it."""
    kind, keys, *rest = np.random.get_state()
    return {"random": random.getstate(), "numpy": (kind, keys, *rest), "torch": torch.get_rng_state()}


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, tuple) and len(one) == 5:
        return np.array_equal(one[1], two[1]) and one[2:] == two[2:]
    return one == two


def set_random_state(state: dict[str, Any]) -> None:
    """Set what `random_state` returned on the other side."""
    if "random" in state:
        random.setstate(state["random"])
    if "numpy" in state:
        np.random.set_state(state["numpy"])
    if "torch" in state:
        torch.set_rng_state(state["torch"])


def put_back(original: Any, new: Any) -> None:
    """Give a mutable argument the contents that it has on the other side, keeping its identity and its parts'."""
    if original is new or type(original) is not type(new):
        return
    if isinstance(original, list):
        both = zip(original, new, strict=False)
        original[:] = [_keep_or_replace(old, fresh) for old, fresh in both] + new[len(original) :]
    elif isinstance(original, (set, bytearray)):
        original.clear()
        original |= new
    elif isinstance(original, dict):
        items = {key: _keep_or_replace(original.get(key), value) for key, value in new.items()}
        original.clear()
        original.update(items)
    elif isinstance(original, np.ndarray) and original.shape == new.shape:
        original[...] = new
    elif isinstance(original, torch.Tensor) and original.shape == new.shape:
        with torch.no_grad():
            original.copy_(new)
    elif isinstance(original, np.random.Generator):
        original.bit_generator.state = new.bit_generator.state
    elif hasattr(original, "__dict__") and not isinstance(
        original, (type, types.FunctionType, types.ModuleType)
    ):
        put_back(vars(original), vars(new))


_PARTS = (list, dict, set, bytearray, np.ndarray, torch.Tensor)


def _keep_or_replace(old: Any, new: Any) -> Any:
    fits = type(old) is type(new) and (
        not isinstance(old, (np.ndarray, torch.Tensor)) or old.shape == new.shape
    )
    if not fits or not (isinstance(old, _PARTS) or hasattr(old, "__dict__")) or isinstance(old, Reference):
        return new
    put_back(old, new)
    return old


# --- handles ------------------------------------------------------------------------------------------------

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
    "torch.nn.modules.module:Module": torch.nn.Module,
    "torch.utils.data.dataset:Dataset": torch.utils.data.Dataset,
    "torch.utils.data.dataset:IterableDataset": torch.utils.data.IterableDataset,
    "torch.utils.data.sampler:Sampler": torch.utils.data.Sampler,
    "torch.optim.optimizer:Optimizer": torch.optim.Optimizer,
    "torch.autograd.function:Function": torch.autograd.Function,
    "builtins:function": types.FunctionType,
    "builtins:generator": types.GeneratorType,
    "builtins:method": types.MethodType,
    "builtins:type": type,
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
        known = (_BEHAVIOURS[name] for name in far(self).bases if name in _BEHAVIOURS)
        return next(known, type(self))

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


class Far:
    """Where the object of a handle is, and how often it has been sent."""

    __slots__ = ("bases", "number", "peer", "times")

    def __init__(self, peer: Pristine, number: int, bases: list[str]):
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
        if operation in _ARITHMETIC and isinstance(others[0], Reference):
            return _do(self, operation, *others, swap=swap)
        return _judge(self, operation, *others, swap=swap)

    return method


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
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
for _name in _ARITHMETIC:
    _plain = _name.strip("_")
    setattr(Handle, f"__{_plain}__", _judged(_name))
    setattr(Handle, f"__r{_plain}__", _judged(_name, swap=True))
for _name in (*_COMPARISONS, "bool", "contains"):
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
_CAN: dict[str, dict[str, Callable[..., Any]]] = {
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


def _handle_class(name: str, can: tuple[str, ...]) -> type[Handle]:
    key = name[:80], can
    if key not in _classes:
        if len(_classes) > 1000:
            _classes.clear()
        methods = {method: function for word in can for method, function in _CAN.get(word, {}).items()}
        methods["__doc__"] = property(lambda self: _attribute(self, "attr", "__doc__"))
        _classes[key] = type(key[0] or "Handle", (Handle,), {**methods, "__slots__": ()})
    return _classes[key]


# --- the student's side -------------------------------------------------------------------------------------


class Student(Peer):
    """The end of the student. It runs beside the student's code and is therefore trusted for nothing."""

    trusted = False

    def __init__(self, sock: socket.socket, names: dict[str, Any], classes: list[str]):
        super().__init__(sock, names, classes)
        self.run_cell: Callable[[dict[str, Any]], Any] = lambda message: None
        self.start: Callable[[], None] = lambda: None  # begins the outputs of an answer
        self.heard: Callable[[], list[dict[str, Any]]] = list
        self._objects: dict[int, list[Any]] = {}  # number: [object, times sent]
        self._numbers: dict[int, int] = {}
        self._next = 0
        self._proxies: dict[int, Any] = {}
        self._graphs: dict[int, tuple[list[torch.Tensor], dict[int, torch.Tensor]]] = {}
        self._calls = 0

    def serve(self) -> None:
        """Answer until the other side hangs up."""
        # Only the student's own code is to be interrupted, never the sending of an answer.
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._answer(*self.receive())

    def _answer(self, message: dict[str, Any], reader: Reader) -> None:
        self.start()
        try:
            try:
                frame = self._result(message, reader)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, signal.SIG_IGN)
        except BaseException as error:
            frame = self._exception(error)
        self.sock.sendall(frame)

    def _result(self, message: dict[str, Any], reader: Reader) -> bytes:
        answer: dict[str, Any] = {"op": "ret"}
        value = self._do(message, reader, answer)
        writer = self.writer()
        writer.tensors = answer.pop("tensors", None)
        answer["v"] = writer.write(value)
        if "changed" in answer:
            writer.tensors, writer.by_value = None, True
            answer["back"] = [writer.write(value) for value in answer.pop("changed")]
        return wire.pack({**answer, "out": self.heard()}, writer.blobs)

    def _exception(self, error: BaseException) -> bytes:
        mro = ["Refused"] if isinstance(error, wire.WireError) else _mro(error)
        answer = {"op": "exc", "mro": mro, "text": text_of(error), "out": self.heard()}
        writer, args = self.writer(), None
        with contextlib.suppress(Exception):
            args = writer.write(tuple(error.args))
        return wire.pack({**answer, "args": args, "trace": _trace(error)}, writer.blobs if args else [])

    def _do(self, message: dict[str, Any], reader: Reader, answer: dict[str, Any]) -> Any:
        self._learn(message, reader)
        operation = message["op"]
        if operation == "cell":
            return self.run_cell(message)
        if operation == "names":
            return {name: self.names[name] for name in message["names"] if name in self.names}
        target = self._objects[message["id"]][0] if "id" in message else None
        args, kwargs = arguments(reader, message)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, message["wall"], _REPEAT)
        if operation == "call":
            return self._call(target, args, kwargs, message, reader, answer)
        if operation == "backward":
            return self._backward(message, args[0])
        if operation == "attr":
            return getattr(target, message["name"])
        if operation == "setattr":
            return setattr(target, message["name"], args[0])
        if operation == "delattr":
            return delattr(target, message["name"])
        operands = (*args, target) if message["swap"] else (target, *args)
        return _OPERATIONS[message["name"]](*operands)

    def _call(
        self,
        function: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        message: dict[str, Any],
        reader: Reader,
        answer: dict[str, Any],
    ) -> Any:
        def seen() -> list[Any]:
            return [*args, *kwargs.values(), *map(self.names.get, message["back"])]

        before = self._snapshot(seen()) if message["back"] is not None else None
        value = function(*args, **kwargs)
        if before is not None and self._snapshot(seen()) != before:
            answer["changed"] = seen()
        self._calls += 1
        answer["call"] = self._calls
        answer["tensors"] = outputs = []
        self._graphs[self._calls] = outputs, reader.tensors
        return value

    def _snapshot(self, values: list[Any]) -> Any:
        writer = self.writer()
        writer.by_value = True
        return [writer.write(value) for value in values], [bytes(blob) for blob in writer.blobs]

    def _backward(self, message: dict[str, Any], gradient: torch.Tensor) -> list[torch.Tensor | None]:
        outputs, inputs = self._graphs[message["call"]]
        for tensor in inputs.values():
            tensor.grad = None
        # A product, whose gradient is the one asked for: to hand backward() a gradient makes torch import sympy.
        (outputs[message["slot"]] * gradient.conj()).sum().backward(retain_graph=True)
        return [inputs[slot].grad if slot in inputs else None for slot in range(message["inputs"])]

    def _learn(self, message: dict[str, Any], reader: Reader) -> None:
        for name, node in message.get("set", ()):
            self.names[name] = reader.read(node)
        for name in message.get("del", ()):
            self.names.pop(name, None)
        if "random" in message:
            set_random_state(reader.read(message["random"]))
        for number, times in message.get("free", ()):
            held = self._objects[number]
            held[1] -= times
            if not held[1]:
                del self._objects[number], self._numbers[id(held[0])]
        for call in message.get("graphs", ()):
            self._graphs.pop(call, None)

    def hold(self, value: Any) -> Any:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = self._next
            self._objects[number] = [value, 0]
            self._next += 1
        self._objects[number][1] += 1
        kind = type(value)
        has = {
            name for base in kind.__mro__ for name in vars(base)
        }  # of instances; hasattr asks the metaclass too
        can = [word for word, names in _METHODS.items() if has.issuperset(names)]
        bases = [f"{base.__module__}:{base.__qualname__}" for base in kind.__mro__]
        errors = []
        if isinstance(value, type) and issubclass(value, BaseException):
            errors = [base.__name__ for base in value.__mro__]
        return {"h": [number, kind.__name__, can, bases[:20], errors]}

    def find(self, tag: str, body: Any) -> Any:
        if tag == "own":
            return self._objects[body][0]
        if tag != "cb":
            raise wire.WireError("an unknown tag")
        if body not in self._proxies:
            self._proxies[body] = self._proxy(body)
        return self._proxies[body]

    def _proxy(self, number: int) -> Callable[..., Any]:
        def proxy(*args: Any, **kwargs: Any) -> Any:
            writer = self.writer()
            message = {
                "op": "cb",
                "id": number,
                "a": [writer.write(value) for value in args],
                "k": {name: writer.write(value) for name, value in kwargs.items()},
                "out": self.heard(),
            }
            self.start()
            self.sock.sendall(wire.pack(message, writer.blobs))
            while True:
                answer, reader = self.receive()
                if answer["op"] == "exc":
                    known = next((_ERRORS[name] for name in answer["mro"] if name in _ERRORS), Exception)
                    raise known(answer["text"])
                if answer["op"] == "ret":
                    return reader.read(answer["v"])
                with self._resumed():
                    self._answer(answer, reader)
                    self.start()

        return proxy

    @contextlib.contextmanager
    def _resumed(self) -> Iterator[None]:
        """Keep the alarm of the outer call over the inner one."""
        handler, left = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]
        yield
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left, _REPEAT)


_METHODS = {word: tuple(methods) for word, methods in _CAN.items() if word != "array"}
_METHODS["array"] = ("__len__", "__getitem__")
_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*_ARITHMETIC, *_COMPARISONS, "contains", "getitem")},
    **{name: getattr(operator, name) for name in ("setitem", "delitem", "neg", "pos", "invert", "index")},
    **{
        kind.__name__: kind
        for kind in (str, repr, bool, int, float, len, iter, next, reversed, abs, round, dir)
    },
    **{"isinstance": isinstance, "issubclass": issubclass, "array": np.asarray},
    **{"copy": copy.copy, "deepcopy": copy.deepcopy},
    **{"enter": lambda value: value.__enter__(), "exit": lambda value: value.__exit__(None, None, None)},
}


def _trace(error: BaseException) -> str:
    """Return where in the student's cells an exception came from, as lines of text."""
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/grader/split/" not in f.filename]
    return "in the student's code:\n" + "".join(traceback.format_list(frames[-8:])) if frames else ""
