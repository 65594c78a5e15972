"""The end of the student. It runs beside the student's code and is therefore trusted for nothing."""

from __future__ import annotations

import contextlib
import copy
import operator
import signal
import socket

# Those of `signal` make enumerations of what they are given and return, in six times the time.
from _signal import SIG_IGN
from _signal import signal as set_handler
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from grader.later import torch
from grader.notebooks.twin.copy_back import set_random_state
from grader.notebooks.twin.handles import ARITHMETIC, CAN, COMPARISONS
from grader.notebooks.twin.peer import (
    ERRORS,
    REPEAT,
    Peer,
    arguments,
    mro_of,
    text_of,
)
from grader.notebooks.twin.reader import Reader
from grader.sandbox import wire


class Student(Peer):
    """The end of the student. It runs beside the student's code and is therefore trusted for nothing."""

    trusted = False

    def __init__(self, sock: socket.socket, names: dict[str, Any], classes: list[str]):
        super().__init__(sock, names, classes)
        self.run_cell: Callable[[dict[str, Any]], Any] = lambda message: None
        self.start: Callable[[], None] = lambda: None  # begins the outputs of an answer
        self.heard: Callable[[], list[dict[str, Any]]] = list
        # Calls a function as a cell of a kernel would call it, see `Loop.call`.
        self.within: Callable[..., Any] = lambda function, *args: function(*args)
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
                message, reader = self.receive()
                # An answer that comes late is one to a callback of a cell that has been interrupted.
                if message["op"] not in ("ret", "exc"):
                    self._answer(message, reader)

    def _answer(self, message: dict[str, Any], reader: Reader) -> None:
        self.start()
        try:
            try:
                frame = self._result(message, reader)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                set_handler(signal.SIGALRM, SIG_IGN)
        except BaseException as error:
            frame = self._exception(error)
        self.sock.sendall(frame)

    def _result(self, message: dict[str, Any], reader: Reader) -> bytes:
        answer: dict[str, Any] = {"op": "ret"}
        value = self._do(message, reader, answer)
        writer = self.writer()
        inputs = answer.pop("inputs", None)
        writer.tensors = None if inputs is None else []
        answer["v"] = writer.write(value)
        if writer.tensors:  # which the tests may ask for gradients
            self._calls += 1
            answer["call"] = self._calls
            self._graphs[self._calls] = writer.tensors, inputs
        if "changed" in answer:
            writer.tensors, writer.by_value = None, True
            answer["back"] = [writer.write(value) for value in answer.pop("changed")]
        return wire.pack({**answer, "out": self.heard()}, writer.blobs)

    def _exception(self, error: BaseException) -> bytes:
        mro = ["Refused"] if isinstance(error, wire.WireError) else mro_of(error)
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
        set_handler(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, message["wall"], REPEAT)
        return self.within(self._operate, operation, target, args, kwargs, message, reader, answer)

    def _operate(
        self,
        operation: str,
        target: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        message: dict[str, Any],
        reader: Reader,
        answer: dict[str, Any],
    ) -> Any:
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
        answer["inputs"] = reader.tensors
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
        if "offers" in message:
            self._accept(message["offers"], message.get("wall", message.get("limit")))
        for number in message.get("open", ()):
            name, value = self._unpack(reader.blob(number))
            self.names[name] = value
        for name, node in message.get("set", ()):
            self.names[name] = reader.read(node)
        for name in message.get("del", ()):
            self.names.pop(name, None)
        if "random" in message:
            set_random_state(reader.read(message["random"]))
        for number, times in message.get("done", ()):
            held = self._objects[number]
            held[1] -= times
            if not held[1]:
                del self._objects[number], self._numbers[id(held[0])]
        for call in message.get("graphs", ()):
            self._graphs.pop(call, None)

    def _accept(self, statements: list[str], wall: float) -> None:
        """Bind what tests import and define, by their own text, which students were given."""
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, wall, REPEAT)
        for statement in statements:
            # One that fails here fails in the test too, where it is seen; so it is with what it prints.
            with contextlib.suppress(Exception):
                exec(statement, self.names)
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.heard()
        self.start()

    def _unpack(self, frame: memoryview) -> tuple[str, Any]:
        size, _ = wire.HEAD.unpack_from(frame)
        (name, node), blobs = wire.unpack(
            bytes(frame[wire.HEAD.size :][:size]), frame[wire.HEAD.size + size :]
        )
        return name, self.reader(blobs).read(node)

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
                    known = next((ERRORS[name] for name in answer["mro"] if name in ERRORS), Exception)
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
        signal.setitimer(signal.ITIMER_REAL, left, REPEAT)


_METHODS = {word: tuple(methods) for word, methods in CAN.items() if word != "array"}
_METHODS["array"] = ("__len__", "__getitem__")
_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*ARITHMETIC, *COMPARISONS, "contains", "getitem")},
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

    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "/grader/notebooks/twin/" not in f.filename
    ]
    return "in the student's code:\n" + "".join(traceback.format_list(frames[-8:])) if frames else ""
